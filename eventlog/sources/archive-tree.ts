/**
 * The files of an archive as they are written out. An archive comes from anybody: every name, size and link is checked before
 * anything is made of it, links are made last and only when none leads out, and nothing is ever written through one.
 */
import { createHash } from "node:crypto";
import { createWriteStream } from "node:fs";
import { mkdir, symlink } from "node:fs/promises";
import { dirname, join } from "node:path";
import { type Readable, Transform } from "node:stream";
import { pipeline } from "node:stream/promises";
import { type Failed, fail } from "../outcome.ts";
import { checkLinks } from "./git-tree.ts";

export interface ArchiveLimits {
  /** Files, folders and links. Default 50 000. */
  readonly entries: number;
  /** Of all files unpacked. Default 2 GiB. */
  readonly bytes: number;
  /** Unpacked bytes to a byte of the archive, looked at from 16 MiB on. Default 200. */
  readonly ratio: number;
}

export const ARCHIVE_LIMITS: ArchiveLimits = { entries: 50_000, bytes: 2 * 1024 ** 3, ratio: 200 };
const RATIO_FROM = 16 * 1024 ** 2;
const PATH_BYTES = 1_024;
const NAME_BYTES = 255;
const DEEP = 64;
const LINK_BYTES = 1_024;
/** Of one entry's headers in a tar, long names and all. */
const HEADERS_BYTES = 4_096;

/** Carries what is wrong with an archive out of streams and libraries. */
export class ArchiveRefused extends Error {
  readonly failure: Failed;
  constructor(failure: Failed) {
    super(failure.failed.message);
    this.failure = failure;
  }
}

export function refuse(code: string, message: string, fix: string): never {
  throw new ArchiveRefused(fail("permanent", code, message, fix));
}

/** A name for people: short, and without what could play with a terminal. */
const shown = (name: string): string => JSON.stringify(name.length > 120 ? `${name.slice(0, 120)}…` : name);

export class ArchiveTree {
  readonly #root: string;
  readonly #archiveBytes: number;
  readonly #limits: ArchiveLimits;
  /** What each path is, by its name as a file system that knows no case would have it. */
  readonly #names = new Map<string, { readonly path: string; readonly kind: "file" | "folder" | "link" }>();
  readonly #links = new Map<string, string>();
  /** A line for each file and link, for the hash of the whole. */
  readonly #lines: string[] = [];
  #entries = 0;
  #bytes = 0;
  #passed = 0;
  files = 0;

  /** @param root a new folder, which is there */
  constructor(root: string, archiveBytes: number, limits: ArchiveLimits) {
    this.#root = root;
    this.#archiveBytes = archiveBytes;
    this.#limits = limits;
  }

  get bytes(): number {
    return this.#bytes;
  }

  /** What an archive says of how many entries it has. @throws ArchiveRefused */
  expect(entries: number): void {
    if (entries > this.#limits.entries) {
      refuse(
        "ARCHIVE_TOO_MANY",
        `The archive has more than ${this.#limits.entries} entries.`,
        "Leave out what the application does not need (.millraceignore), such as node_modules.",
      );
    }
  }

  /** What is in `.git`, and what file systems of others leave behind, is left out. */
  isLeftOut(name: string): boolean {
    return /(^|\/)(\.git|__MACOSX)(\/|$)/.test(name);
  }

  async folder(name: string): Promise<void> {
    const path = this.#path(name);
    if (path === "") return;
    this.#take(path, "folder");
    await mkdir(join(this.#root, path), { recursive: true, mode: 0o755 });
  }

  /** @param size as the archive says; bytes beyond it are refused, and missing ones as well */
  async file(name: string, size: number, executable: boolean, content: Readable): Promise<void> {
    const path = this.#path(name);
    if (path === "") refuse("ARCHIVE_NAME", "A file of the archive has no name.", "Pack it again.");
    this.#take(path, "file");
    if (size > this.#limits.bytes) this.#tooLarge();
    const target = join(this.#root, path);
    await mkdir(dirname(target), { recursive: true, mode: 0o755 });
    const hash = createHash("sha256");
    let length = 0;
    const counting = new Transform({
      transform: (chunk: Buffer, _, done) => {
        length += chunk.length;
        this.#bytes += chunk.length;
        try {
          if (length > size) this.#broken(`${shown(path)} is longer than the archive says`);
          if (this.#bytes > this.#limits.bytes) this.#tooLarge();
          this.#checkRatio(this.#bytes);
          hash.update(chunk);
          done(null, chunk);
        } catch (error) {
          done(error as Error);
        }
      },
    });
    const mode = executable ? 0o755 : 0o644;
    // It may have more to complain of when this has been given up already.
    content.on("error", () => {});
    await pipeline(content, counting, createWriteStream(target, { flags: "wx", mode }));
    if (length !== size) this.#broken(`${shown(path)} is shorter than the archive says`);
    this.files++;
    this.#lines.push(`${path}\0${executable ? "100755" : "100644"}\0${hash.digest("hex")}`);
  }

  link(name: string, target: string): void {
    const path = this.#path(name);
    this.#take(path, "link");
    if (target === "" || Buffer.byteLength(target) > LINK_BYTES || target.includes("\0")) {
      refuse("ARCHIVE_LINK", `The link ${shown(path)} leads nowhere.`, "Put the file itself into the archive.");
    }
    this.#links.set(path, target);
    this.#lines.push(`${path}\x00120000\0${target}`);
  }

  /** Makes the links. @returns the hash of all names, modes and contents @throws ArchiveRefused */
  async finish(): Promise<string> {
    const outside = checkLinks(this.#links);
    if (outside !== undefined) {
      refuse(
        "LINK_OUTSIDE",
        "A symbolic link of the archive leads out of it.",
        "Put the file itself into the archive.",
      );
    }
    for (const [path, target] of this.#links) {
      await mkdir(dirname(join(this.#root, path)), { recursive: true, mode: 0o755 });
      await symlink(target, join(this.#root, path));
    }
    if (this.files === 0)
      refuse("ARCHIVE_EMPTY", "The archive holds no files.", "Pack the folder that is to be deployed.");
    return createHash("sha256").update(this.#lines.sort().join("\n")).digest("hex");
  }

  /** The name as a path below the root; `""` is the root. @throws ArchiveRefused */
  #path(name: string): string {
    this.expect(++this.#entries);
    const outside = (why: string): never =>
      refuse(
        "ARCHIVE_NAME",
        `The archive has an entry ${shown(name)}, which ${why}.`,
        "Pack it again, with relative names.",
      );
    if (name.includes("\0") || /[\p{Cc}]/u.test(name)) outside("has control characters in its name");
    if (!name.isWellFormed() || name.includes("\ufffd")) outside("has a name that is not UTF-8");
    if (name.startsWith("/") || /^[A-Za-z]:/.test(name)) outside("is absolute");
    if (name.includes("\\")) outside("has a backslash in its name");
    const parts = name.split("/").filter((part) => part !== "" && part !== ".");
    if (parts.includes("..")) outside("leads out with `..`");
    if (Buffer.byteLength(name) > PATH_BYTES || parts.some((part) => Buffer.byteLength(part) > NAME_BYTES)) {
      outside("has too long a name");
    }
    if (parts.length > DEEP) outside(`lies deeper than ${DEEP} folders`);
    return parts.join("/");
  }

  /** Every path is one thing, once; also where names differ only in case or in how letters are composed. */
  #take(path: string, kind: "file" | "folder" | "link"): void {
    const parts = path.split("/");
    for (let depth = 1; depth <= parts.length; depth++) {
      const own = parts.slice(0, depth).join("/");
      const isWhole = depth === parts.length;
      const as = isWhole ? kind : "folder";
      const key = own.normalize("NFC").toLowerCase();
      const there = this.#names.get(key);
      if (there === undefined) {
        this.#names.set(key, { path: own, kind: as });
        continue;
      }
      const same = there.path === own && there.kind === "folder" && as === "folder";
      if (!same) {
        const what =
          there.path === own ? "is there twice" : `and ${shown(there.path)} are the same name in other letters`;
        refuse("ARCHIVE_DUPLICATE", `${shown(own)} ${what}.`, "Give each file of the archive a name of its own.");
      }
    }
  }

  /** Bytes that came out of the archive, headers, padding and all. @throws ArchiveRefused */
  passed(bytes: number): void {
    this.#passed += bytes;
    if (this.#passed > this.#limits.bytes + this.#limits.entries * HEADERS_BYTES) this.#tooLarge();
    this.#checkRatio(this.#passed);
  }

  #checkRatio(bytes: number): void {
    if (bytes <= RATIO_FROM || bytes <= this.#archiveBytes * this.#limits.ratio) return;
    refuse(
      "ARCHIVE_BOMB",
      `The archive becomes more than ${this.#limits.ratio} times as large as it is.`,
      "Pack it without files that hold nothing but repetition.",
    );
  }

  #tooLarge(): never {
    return refuse(
      "ARCHIVE_TOO_LARGE",
      `The archive unpacks to more than ${this.#limits.bytes} bytes.`,
      "Leave out what the application does not need (.millraceignore).",
    );
  }

  #broken(why: string): never {
    return refuse("ARCHIVE_BROKEN", `The archive is damaged: ${why}.`, "Pack it again, and upload it again.");
  }
}
