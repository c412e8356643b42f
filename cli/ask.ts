/** Questions to whoever sits at the terminal. Where nobody does, a missing answer is a failure that says what to give. */
import { createInterface } from "node:readline";
import { Writable } from "node:stream";
import { interrupted, usage } from "./failure.ts";
import { oneLine, readAll } from "./io.ts";
import type { AnyCall } from "./table.ts";

const maySpeak = ({ io, flags }: AnyCall): boolean => io.stdin.isTTY === true && !flags["no-input"];

/** One line typed; with `hidden` it is not shown. */
function typed(call: AnyCall, question: string, hidden: boolean): Promise<string> {
  const nowhere = new Writable({ write: (_chunk, _encoding, done) => done() });
  const lines = createInterface({ input: call.io.stdin, output: hidden ? nowhere : process.stderr, terminal: true });
  process.stderr.write(question);
  return new Promise((resolve, reject) => {
    let answered = false;
    lines.once("line", (line) => {
      answered = true;
      if (hidden) process.stderr.write("\n");
      lines.close();
      resolve(line.trim());
    });
    lines.once("SIGINT", () => lines.close());
    lines.once("close", () => answered || reject(interrupted()));
  });
}

/**
 * Makes sure that what cannot be undone is meant: the name is to be typed, or --yes given.
 * @throws Failure with exit code 2 when nobody can be asked, or something else was typed
 */
export async function confirm(call: AnyCall, what: string, name: string): Promise<void> {
  if (call.flags.yes) return;
  if (!maySpeak(call)) throw usage(`${what} cannot be undone, and nobody can be asked`, "Say `--yes` if it is meant");
  const answer = await typed(
    call,
    `${oneLine(what)}. This cannot be undone.\nType "${oneLine(name)}" to go on: `,
    false,
  );
  if (answer !== name) throw usage("Nothing was done: something else was typed");
}

/** A secret from standard input (whole, without a line feed at its end), or typed unseen. */
export async function secretValue(call: AnyCall, what: string, fromStdin: boolean): Promise<string> {
  if (!fromStdin && maySpeak(call)) return typed(call, `${what} (not shown): `, true);
  if (!fromStdin && call.io.stdin.isTTY) throw usage(`${what} is needed, and --no-input forbids to ask`);
  const text = (await readAll(call.io)).replace(/\r?\n$/, "");
  if (text === "") throw usage(`${what} is empty`, "Write it to standard input");
  return text;
}

/** Text of a flag or argument; `-` means standard input. */
export async function textOrStdin(call: AnyCall, text: string): Promise<string> {
  return text === "-" ? (await readAll(call.io)).replace(/\r?\n$/, "") : text;
}
