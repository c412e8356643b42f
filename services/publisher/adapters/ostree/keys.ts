/**
 * GPG keys. The private part lives outside, sealed; GPG sees it in a home made for one operation, whose agent is ended with it.
 * Keys have no passphrase: what guards them is the sealing.
 */
import { readdirSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Refusal } from "./refusal.ts";
import { type RunOptions, type Signer, ToolFailed, type Tools } from "./tools.ts";

export interface GpgKey {
  /** 40 hexadecimal digits, capitals. */
  readonly fingerprint: string;
  /** `Name <address>` of its first user. */
  readonly user: string;
  /** Binary, as `GPGKey=` of a `.flatpakrepo` has it in base 64. */
  readonly publicKey: Buffer;
  /** Binary. To be sealed at once. */
  readonly secretKey: Buffer;
}

/** Bytes of a key from outside. */
const KEY_MOST = 256 * 1024;
const quiet = ["--batch", "--no-tty", "--quiet", "--pinentry-mode", "loopback", "--passphrase", ""] as const;

/** A home with these secret keys in it, for as long as `use` takes. */
export async function withGpgHome<T>(
  tools: Tools,
  secretKeys: ReadonlyArray<Uint8Array>,
  use: (home: string) => Promise<T>,
): Promise<T> {
  return tools.withFolder("gpg", async (home) => {
    try {
      for (const key of secretKeys) {
        await gpg(tools, home, ["--import"], { input: key });
      }
      return await use(home);
    } finally {
      // Its agent would live on, with the key.
      await tools.run("gpgconf", ["--kill", "all"], { gpgHome: home, timeoutMs: 10_000 }).catch(() => {});
    }
  });
}

/** Signs with these keys while `use` takes. */
export function withSigner<T>(
  tools: Tools,
  keys: ReadonlyArray<Pick<GpgKey, "fingerprint" | "secretKey">>,
  use: (signer: Signer) => Promise<T>,
): Promise<T> {
  const secrets = keys.map(({ secretKey }) => secretKey);
  return withGpgHome(tools, secrets, (home) => use({ home, fingerprints: keys.map(({ fingerprint }) => fingerprint) }));
}

interface Home {
  readonly signer: Promise<Signer>;
  /** Until it is gone. */
  readonly over: Promise<void>;
  readonly end: () => void;
  users: number;
  ending?: NodeJS.Timeout;
}

/** How long a home stays after its last use, milliseconds: what is published is signed twice, commit and summary. */
const STAYS_MS = 500;

/** Signers whose homes are shared by all who sign with the same keys at the same moment, or right after each other. */
export class SharedSigners {
  readonly #homes = new Map<string, Home>();

  /** @param name of the keys: the same keys have the same @param keys asked for where no home has them */
  async use<T>(
    tools: Tools,
    name: string,
    keys: () => Promise<Parameters<typeof withSigner>[1]>,
    use: (signer: Signer) => Promise<T>,
  ): Promise<T> {
    const home = this.#homes.get(name) ?? this.#open(tools, name, keys);
    clearTimeout(home.ending);
    home.users++;
    try {
      return await use(await home.signer);
    } finally {
      home.users--;
      if (home.users === 0) home.ending = setTimeout(() => this.#close(name, home), STAYS_MS);
    }
  }

  #open(tools: Tools, name: string, keys: () => Promise<Parameters<typeof withSigner>[1]>): Home {
    const opened = Promise.withResolvers<Signer>();
    const ended = Promise.withResolvers<void>();
    let isOpen = false;
    const over = keys()
      .then((all) =>
        withSigner(tools, all, (signer) => {
          isOpen = true;
          opened.resolve(signer);
          return ended.promise;
        }),
      )
      .catch((error: Error) => {
        this.#homes.delete(name);
        // Who signed with it has gone: that its end failed is said all the same.
        if (isOpen) process.emitWarning(`a home of GPG could not be ended: ${error.message}`);
        else opened.reject(error);
      });
    const home: Home = { signer: opened.promise, over, end: ended.resolve, users: 0 };
    this.#homes.set(name, home);
    return home;
  }

  #close(name: string, home: Home): void {
    if (this.#homes.get(name) === home) this.#homes.delete(name);
    home.end();
  }

  /** All homes are gone, with what still uses them. */
  async close(): Promise<void> {
    const all = [...this.#homes];
    for (const [name, home] of all) {
      clearTimeout(home.ending);
      this.#close(name, home);
    }
    await Promise.all(all.map(([, { over }]) => over));
  }
}

const gpg = (tools: Tools, home: string, args: ReadonlyArray<string>, options: RunOptions = {}) =>
  tools.run("gpg", [...quiet, ...args], { gpgHome: home, timeoutMs: 60_000, ...options });

/** A new key for signing, without an end. @param user `Name <address>` */
export async function generateKey(tools: Tools, user: string): Promise<GpgKey> {
  // biome-ignore lint/suspicious/noControlCharactersInRegex: such names are what it keeps out
  if (user.length > 200 || /[\u0000-\u001f\u007f]/.test(user) || !/^[^<>()]{1,}( <[^<>\s]+@[^<>\s]+>)?$/.test(user)) {
    throw new Refusal("bad-name", user, "is no user of a key");
  }
  return withGpgHome(tools, [], async (home) => {
    await gpg(tools, home, ["--quick-gen-key", "--", user, "ed25519", "sign", "never"]);
    return read(tools, home);
  });
}

/** Takes a key of somebody's, armored or binary: one secret key that can sign, without a passphrase. @throws Refusal */
export async function importKey(tools: Tools, key: Uint8Array): Promise<GpgKey> {
  if (key.length > KEY_MOST) throw new Refusal("too-large", "key", `a key has at most ${KEY_MOST} bytes`);
  try {
    return await withGpgHome(tools, [key], async (home) => {
      const found = await read(tools, home);
      await gpg(tools, home, ["--local-user", found.fingerprint, "--detach-sign"], { input: "a trial" });
      return found;
    });
  } catch (error) {
    if (!(error instanceof ToolFailed) || error.how !== "failed") throw error;
    throw new Refusal("malformed", "key", "it is no secret key that signs without a passphrase, or it has expired");
  }
}

async function read(tools: Tools, home: string): Promise<GpgKey> {
  const listed = (await gpg(tools, home, ["--with-colons", "--list-secret-keys"])).toString("utf8").split("\n");
  const rows = listed.map((line) => line.split(":"));
  const keys = rows.filter(([kind]) => kind === "sec");
  const fingerprint = rows.find(([kind]) => kind === "fpr")?.[9];
  const user = rows.find(([kind]) => kind === "uid")?.[9] ?? "";
  if (keys.length !== 1 || fingerprint === undefined) {
    throw new Refusal("malformed", "key", `there are ${keys.length} secret keys in it, wanted is one`);
  }
  const secretKey = await gpg(tools, home, ["--export-secret-keys", fingerprint]);
  return { fingerprint, user, publicKey: await exportPublic(tools, home, fingerprint), secretKey };
}

const exportPublic = (tools: Tools, home: string, fingerprint: string): Promise<Buffer> =>
  gpg(tools, home, ["--export-options", "export-minimal", "--export", fingerprint]);

/** A public key as somebody gave it: armored, or binary in base 64. */
export const publicKeyOf = (text: string): Buffer =>
  text.includes("-----BEGIN ") ? Buffer.from(text) : Buffer.from(text, "base64");

/** Signatures that are looked at. */
const SIGNATURES = 8;

/**
 * Who of these signed it.
 * @param publicKeys as `publicKeyOf` gives them
 * @returns the fingerprint of the key; undefined: none of them, or one that has expired or was revoked
 * @throws Refusal where a key cannot be read
 */
export async function signerOf(
  tools: Tools,
  publicKeys: ReadonlyArray<Uint8Array>,
  content: Uint8Array,
  signatures: ReadonlyArray<Uint8Array>,
): Promise<string | undefined> {
  return tools.withFolder("signed", async (folder) => {
    const look = async (home: string) => {
      for (const [at, signature] of signatures.slice(0, SIGNATURES).entries()) {
        const path = join(folder, `${at}.sig`);
        writeFileSync(path, signature);
        const args = ["--status-fd", "1", "--verify", path, "-"];
        const told = (await gpg(tools, home, args, { input: content, allowed: [0, 1, 2] })).toString("latin1");
        // Also in what is said of an expired or revoked key there is a VALIDSIG.
        if (!/^\[GNUPG:\] GOODSIG /m.test(told)) continue;
        const fingerprint = /^\[GNUPG:\] VALIDSIG (?:\S+ ){9}([0-9A-F]{40})/m.exec(told)?.[1];
        if (fingerprint !== undefined) return fingerprint;
      }
      return undefined;
    };
    try {
      return await withGpgHome(tools, publicKeys, look);
    } catch (error) {
      if (!(error instanceof ToolFailed) || error.how !== "failed") throw error;
      throw new Refusal("malformed", "key", "it is no public key that gpg reads");
    }
  });
}

/** A public key as text: RFC 9580, 6.2. */
export function armored(publicKey: Uint8Array): string {
  let crc = 0xb704ce;
  for (const byte of publicKey) {
    crc ^= byte << 16;
    for (let bit = 0; bit < 8; bit++) crc = (crc << 1) ^ (crc & 0x800000 ? 0x1864cfb : 0);
  }
  const sum = Buffer.from([(crc >> 16) & 0xff, (crc >> 8) & 0xff, crc & 0xff]).toString("base64");
  const lines =
    Buffer.from(publicKey)
      .toString("base64")
      .match(/.{1,64}/g) ?? [];
  return [
    "-----BEGIN PGP PUBLIC KEY BLOCK-----",
    "",
    ...lines,
    `=${sum}`,
    "-----END PGP PUBLIC KEY BLOCK-----",
    "",
  ].join("\n");
}

/** Homes that a process left which was ended without warning; their agents end when they are gone. */
export function sweepGpgHomes(): void {
  for (const name of readdirSync(tmpdir())) {
    const pid = /^mr-gpg-(\d+)-/.exec(name)?.[1];
    if (pid !== undefined && !isAlive(Number(pid))) rmSync(join(tmpdir(), name), { recursive: true, force: true });
  }
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === "EPERM";
  }
}
