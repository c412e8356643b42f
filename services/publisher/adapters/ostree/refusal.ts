/** What is refused of what comes from outside: an object, a part of an upload, a name. Always named, always with a next step. */

export type RefusalCode =
  /** No name of an object, a delta, a reference. */
  | "bad-name"
  /** The content is not what its name says. */
  | "hash-mismatch"
  /** It ends before its own structure says so. */
  | "truncated"
  /** Its structure is none that OSTree writes. */
  | "malformed"
  /** More bytes, or more of anything, than a limit allows. */
  | "too-large"
  /** The body of an upload cannot be read. */
  | "bad-body"
  | "missing-objects"
  | "not-found"
  /** The reference is not where it was expected. */
  | "ref-moved"
  /** Somebody holds the reference. */
  | "held";

const FIXES: Readonly<Record<RefusalCode, string>> = {
  "bad-name": "Correct the name.",
  "hash-mismatch": "Send it again from an intact repository (`ostree fsck` tells).",
  truncated: "Send it again, whole.",
  malformed: "Send it as `ostree` or `flatpak` wrote it, from a repository in archive mode.",
  "too-large": "Send less at once, or raise the limit.",
  "bad-body": "Send the body as the content type says.",
  "missing-objects": "Upload what is missing, then try again.",
  "not-found": "Look which there are.",
  held: "Release the hold of the build that took it back.",
  "ref-moved": "Read the reference again and decide anew.",
};

/** Thrown where something from outside is not taken. */
export class Refusal extends Error {
  override readonly name = "Refusal";
  readonly code: RefusalCode;
  /** What it is about: an object's name, a file name, a reference; shortened when it is hostile. */
  readonly subject: string;
  readonly reason: string;
  readonly fix: string;
  /** At most some of what is missing. */
  readonly missing: ReadonlyArray<string> | undefined;

  constructor(code: RefusalCode, subject: string, reason: string, missing?: ReadonlyArray<string>) {
    const shown = printable(subject);
    super(shown === "" ? reason : `${shown}: ${reason}`);
    this.code = code;
    this.subject = shown;
    this.reason = reason;
    this.fix = FIXES[code];
    this.missing = missing;
  }
}

/** Text from outside as it may stand in a message: ASCII, at most 200 characters. */
export function printable(text: string): string {
  const ascii = text.slice(0, 200).replaceAll(/[^\x20-\x7e]/g, "?");
  return text.length > 200 ? `${ascii}...` : ascii;
}
