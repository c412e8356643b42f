/** How tests wait: for a condition, with a deadline. */

/** Looks until it finds something, or fails. */
export async function eventually<A>(look: () => Promise<A | undefined>, what: string, ms = 15_000): Promise<A> {
  for (const deadline = Date.now() + ms; Date.now() < deadline; ) {
    const found = await look();
    if (found !== undefined) return found;
    await new Promise((resolve) => setTimeout(resolve, 25));
  }
  throw new Error(`not in time: ${what}`);
}
