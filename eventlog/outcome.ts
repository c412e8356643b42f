/** How acts on the world fail: as a value that goes into the log as it stands, never as an exception. */

export interface Failure {
  /** transient: the same again may work; permanent: something must be changed first. */
  readonly class: "transient" | "permanent" | "timeout" | "cancelled";
  /** Stable, in capitals: `NOT_A_REPOSITORY`. */
  readonly code: string;
  /** One sentence: what happened. Holds no secret. */
  readonly message: string;
  /** One sentence: what to do about it. */
  readonly fix: string;
}

export interface Failed {
  readonly failed: Failure;
}

/** Either what was wanted (always an object without a field `failed`), or why not: `if ("failed" in outcome) …`. */
export type Outcome<T extends object> = T | Failed;

export function fail(kind: Failure["class"], code: string, message: string, fix: string): Failed {
  return { failed: { class: kind, code, message, fix } };
}

/** What an aborted signal means for what was under way. */
export function cancelled(what: string): Failed {
  return fail("cancelled", "CANCELLED", `${what} was interrupted.`, "Nothing: it was asked for.");
}

/** What an error of the file system means; also of a program that says so in its output. */
export function diskFailure(error: unknown, doing: string): Failed {
  const { code = "", message = String(error) } = error as NodeJS.ErrnoException;
  const is = (name: string, words: string) => code === name || message.includes(words);
  if (is("ENOSPC", "No space left on device") || is("EDQUOT", "Disk quota exceeded")) {
    const fix = "Free space on the disk of the data folder; what was there before is untouched.";
    return fail("permanent", "DISK_FULL", `The disk is full: ${doing} failed.`, fix);
  }
  if (is("EACCES", "Permission denied") || is("EPERM", "Operation not permitted") || is("EROFS", "Read-only file")) {
    const fix = "Give the user that Millrace runs as the right to write in the data folder.";
    return fail("permanent", "DISK_DENIED", `The disk does not permit it: ${doing} failed (${code || message}).`, fix);
  }
  const said = code || message.slice(-300);
  return fail("transient", "DISK_FAILED", `${doing} failed: ${said}.`, "Look at the disk of the data folder.");
}
