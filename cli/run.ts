/** One call of `mill`: words in, exit code out. Every expected failure is told in words, or as JSON with `-o json`. */
import { COMMANDS, GROUPS } from "./commands.ts";
import { Failure } from "./failure.ts";
import { commandHelp, groupHelp } from "./help.ts";
import { type Io, oneLine } from "./io.ts";
import { parse } from "./parse.ts";
import { type AnyCall, EXIT } from "./table.ts";

export async function run(argv: readonly string[], io: Io): Promise<number> {
  let wantsJson = outputAsked(argv);
  let verbose = false;
  try {
    const parsed = parse(COMMANDS, argv);
    if ("help" in parsed) {
      await io.out(helpFor(parsed.help, io.columns));
      return EXIT.ok;
    }
    const { command, args, flags } = parsed;
    wantsJson = flags.output === "json" || flags.output === "jsonl";
    verbose = flags.verbose === true;
    const code = await command.run({ args, flags, io: quietened(io, flags.quiet === true) } as never);
    return code ?? EXIT.ok;
  } catch (error) {
    const failure = asFailure(error, io);
    io.err(wantsJson ? failureAsJson(failure) : failureForPeople(failure));
    if (verbose && !(error instanceof Failure) && error instanceof Error) io.err(`${error.stack}\n`);
    return failure.exit;
  }
}

/** Help of a command, or of all commands that begin with these words. */
export function helpFor(words: readonly string[], columns?: number): string {
  const width = columns === undefined ? 100 : Math.min(120, Math.max(60, columns));
  const command = COMMANDS.find(({ path }) => path === words.join(" "));
  return command === undefined ? groupHelp(GROUPS, words, width) : commandHelp(command, width);
}

/** Whether errors are to be JSON, looked for before the words are understood, for the errors of that. */
function outputAsked(argv: readonly string[]): boolean {
  return argv.some(
    (word, index) =>
      /^(-o|--output)=?jsonl?$/.test(word) ||
      ((word === "-o" || word === "--output") && /^jsonl?$/.test(argv[index + 1] ?? "")),
  );
}

/** With --quiet, what commands say beside their answer goes nowhere; errors are told by `run` itself. */
const quietened = (io: Io, quiet: boolean): Io => (quiet ? { ...io, err: () => {} } : io);

function asFailure(error: unknown, io: Io): Failure {
  if (error instanceof Failure) return error;
  if (io.interrupted.aborted) return new Failure("interrupted", EXIT.interrupted, "Interrupted");
  const message = error instanceof Error ? error.message : String(error);
  return new Failure("failed", EXIT.failure, oneLine(message), {
    fix: "`--verbose` shows where. If it is a fault of mill, please report it with that",
    cause: error,
  });
}

export function failureAsJson({ code, message, why, fix, requestId }: Failure): string {
  const error = {
    code,
    message: why === undefined ? message : `${message}: ${why}`,
    ...(fix === undefined ? {} : { fix }),
    ...(requestId === undefined ? {} : { requestId }),
  };
  return `${JSON.stringify({ error })}\n`;
}

function failureForPeople({ code, message, why, fix, requestId }: Failure): string {
  if (code === "interrupted") return `${message}\n`;
  const lines = [`mill: ${oneLine(message)}`];
  if (why !== undefined) lines.push(`  why: ${oneLine(why)}`);
  if (fix !== undefined) lines.push(`  fix: ${oneLine(fix)}`);
  if (requestId !== undefined) lines.push(`  request: ${oneLine(requestId)}`);
  return `${lines.join("\n")}\n`;
}

/** How this call prints its answer. */
export function styleOf({ io, flags }: AnyCall, fallback: "table" | "jsonl" = "table") {
  const colourful = !flags["no-color"] && !io.env.NO_COLOR && io.env.TERM !== "dumb" && io.outIsTerminal;
  return {
    format: (flags.output ?? fallback) as "table" | "json" | "jsonl" | "name",
    colour: colourful,
    columns: io.columns,
  };
}
