/**
 * Going on where a collector ended, with a source that stamps its lines and is asked for those *from* a stamp on, the stamp
 * included (`docker logs --since`): several lines may have the same one. The cursor is the stamp and how many of its lines are stored.
 *
 *     const resume = new StampCursor(writer.cursor);
 *     for await (const { stamp, text } of follow({ since: resume.since })) {
 *       const cursor = resume.next(stamp);
 *       if (cursor !== undefined) await writer.line({ text, time, cursor });
 *     }
 */
export class StampCursor {
  /** Ask for lines from here on; undefined: for all of them. */
  readonly since: string | undefined;
  readonly #stored: number;
  #stamp: string | undefined;
  #count = 0;

  /** @param cursor of the writer; one that is not of this form is taken as none */
  constructor(cursor: string | undefined) {
    const found = /^([^#]+)#(\d+)$/.exec(cursor ?? "");
    this.since = found?.[1];
    this.#stored = Number(found?.[2] ?? 0);
  }

  /** @returns the cursor to store with the line, or undefined: it is stored already */
  next(stamp: string): string | undefined {
    if (stamp !== this.#stamp) this.#count = 0;
    this.#stamp = stamp;
    this.#count++;
    return stamp === this.since && this.#count <= this.#stored ? undefined : `${stamp}#${this.#count}`;
  }
}
