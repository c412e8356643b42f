/** What a table has under a name that somebody else chose: `constructor` is in no table of ours, though JavaScript finds it in each. */
export const own = <T>(table: Readonly<Record<string, T>>, name: string): T | undefined =>
  Object.hasOwn(table, name) ? table[name] : undefined;
