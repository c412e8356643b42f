/** What a command touches of its process, so that tests can run one without a process of its own. */
import { stripVTControlCharacters } from "node:util";

export interface Io {
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly cwd: string;
  /** Answers; nothing else goes there. Resolves when it may be written again. */
  readonly out: (text: string) => Promise<void>;
  /** Everything else. */
  readonly err: (text: string) => void;
  readonly stdin: NodeJS.ReadableStream & { readonly isTTY?: boolean };
  readonly outIsTerminal: boolean;
  readonly errIsTerminal: boolean;
  /** Columns of the terminal; undefined when stdout is none. */
  readonly columns: number | undefined;
  /** Aborts on Ctrl-C and SIGTERM. */
  readonly interrupted: AbortSignal;
}

/** The real process. A reader that goes away (`mill … | head`) ends it quietly. */
export function processIo(interrupted: AbortSignal): Io {
  for (const stream of [process.stdout, process.stderr]) {
    stream.on("error", (error: NodeJS.ErrnoException) => {
      if (error.code === "EPIPE") process.exit(0);
      throw error;
    });
  }
  return {
    env: process.env,
    cwd: process.cwd(),
    out: (text) => new Promise((resolve) => void process.stdout.write(text, () => resolve())),
    err: (text) => void process.stderr.write(text),
    stdin: process.stdin,
    outIsTerminal: process.stdout.isTTY === true,
    errIsTerminal: process.stderr.isTTY === true,
    columns: process.stdout.isTTY ? process.stdout.columns : undefined,
    interrupted,
  };
}

// Also the marks that turn the direction of writing round, by which a text can show as another.
// biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is removed
const CONTROLS = /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u202a-\u202e\u2066-\u2069]/g;

/** Text from elsewhere, safe to show in a terminal: no escape sequences, no control characters but line feeds and tabs. */
export function plain(text: string): string {
  return stripVTControlCharacters(text).replace(CONTROLS, "");
}

/** The same, on one line. */
export const oneLine = (text: string): string => plain(text).replace(/\s+/g, " ").trim();

/**
 * All of standard input as text.
 * @throws RangeError beyond `limitBytes`
 */
export async function readAll(io: Io, limitBytes = 1 << 20): Promise<string> {
  const chunks: Buffer[] = [];
  let size = 0;
  for await (const chunk of io.stdin) {
    const bytes = Buffer.from(chunk as Uint8Array | string);
    size += bytes.length;
    if (size > limitBytes) throw new RangeError(`standard input is larger than ${limitBytes} bytes`);
    chunks.push(bytes);
  }
  return Buffer.concat(chunks).toString("utf8");
}
