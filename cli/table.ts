/**
 * The shape of the command table. Parsing, help, completions, the reference in docs/ and exit codes all come from it.
 * Declarations are light: what a command does is imported only when it runs, so that `mill --help` is quick.
 */
import type { Io } from "./io.ts";

/** Where names for completion come from, beyond `choices`: a collection of the API, or what the CLI itself knows. */
export type NameSource =
  | { readonly collection: string }
  | { readonly from: "contexts" | "kinds" | "commands" | "organisations" };

export interface Flag {
  readonly type: "boolean" | "string" | "strings" | "integer";
  readonly summary: string;
  readonly short?: string;
  /** Placeholder of the value in help, e.g. `TIME`. */
  readonly value?: string;
  readonly choices?: readonly string[];
  readonly names?: NameSource;
  /** Least and greatest value of an integer. */
  readonly range?: readonly [number, number];
}

export interface Argument {
  readonly summary: string;
  readonly optional?: true;
  /** Takes all remaining arguments; only the last may. */
  readonly many?: true;
  readonly choices?: readonly string[];
  readonly names?: NameSource;
}

export type Flags = Readonly<Record<string, Flag>>;
export type Arguments = Readonly<Record<string, Argument>>;

export interface Example {
  readonly line: string;
  readonly says: string;
}

/** No flags, or no arguments, of its own. */
export type None = Readonly<Record<never, never>>;

export type FlagValues<F extends Flags> = {
  readonly [K in keyof F]: F[K]["type"] extends "boolean"
    ? boolean
    : F[K]["type"] extends "strings"
      ? readonly string[]
      : F[K]["type"] extends "integer"
        ? number | undefined
        : string | undefined;
};

export type ArgumentValues<A extends Arguments> = {
  readonly [K in keyof A]: A[K] extends { readonly many: true }
    ? readonly string[]
    : A[K] extends { readonly optional: true }
      ? string | undefined
      : string;
};

/** What a command is run with. */
export interface Call<F extends Flags = Flags, A extends Arguments = Arguments> {
  readonly args: ArgumentValues<A>;
  readonly flags: FlagValues<F & typeof GLOBAL_FLAGS>;
  readonly io: Io;
}

/** A call whose own flags are not known by type: what all commands share. */
export type AnyCall = Call<None, None>;

export interface Command<F extends Flags = Flags, A extends Arguments = Arguments> {
  /** Words after `mill`, e.g. `work list`. */
  readonly path: string;
  /** One line, without a full stop. */
  readonly summary: string;
  readonly description?: string;
  readonly arguments?: A;
  readonly flags?: F;
  /** At least one. */
  readonly examples: readonly Example[];
  /** Whether it changes anything, anywhere. */
  readonly impact: "read" | "write";
  /** Other last words for it, e.g. `ls`. */
  readonly aliases?: readonly string[];
  /** Not in help, completions and docs. */
  readonly hidden?: true;
  /** Everything after the path is the command's own: neither flags nor help are looked for. */
  readonly raw?: true;
  /** @returns the exit code; nothing means 0 */
  // biome-ignore lint/suspicious/noConfusingVoidType: most commands return nothing at all
  readonly run: (call: Call<F, A>) => Promise<number | void>;
}

/** Keeps the types of flags and arguments for `run`, and forgets them for the table. */
export function command<const F extends Flags = None, const A extends Arguments = None>(
  declared: Command<F, A>,
): Command {
  return declared as unknown as Command;
}

/** A group of commands in help, by first word. */
export interface Group {
  readonly title: string;
  readonly commands: readonly Command[];
}

export const FORMATS = ["table", "json", "jsonl", "name"] as const;
export type Format = (typeof FORMATS)[number];

/** Flags that every command takes, before or after its words. */
export const GLOBAL_FLAGS = {
  output: { type: "string", short: "o", value: "FORMAT", choices: FORMATS, summary: "How answers are printed" },
  context: {
    type: "string",
    value: "NAME",
    names: { from: "contexts" },
    summary: "Use this context, not the selected",
  },
  url: { type: "string", value: "URL", summary: "Address of the gateway, instead of the context's" },
  org: { type: "string", value: "ORG", names: { from: "organisations" }, summary: "Organisation, by id or name" },
  timeout: {
    type: "integer",
    value: "SECONDS",
    range: [1, 86_400],
    summary: "Give up after this time (exit code 124); 30 for a single request",
  },
  yes: { type: "boolean", short: "y", summary: "Do not ask before what cannot be undone" },
  "no-input": { type: "boolean", summary: "Never ask; fail where an answer would be needed" },
  quiet: { type: "boolean", short: "q", summary: "Nothing on stderr but errors" },
  verbose: { type: "boolean", short: "v", summary: "Show requests, their keys and positions on stderr" },
  "no-color": { type: "boolean", summary: "No colours; the same as NO_COLOR=1" },
  help: { type: "boolean", short: "h", summary: "Help, with examples" },
} as const satisfies Flags;

/** Of lists and single entities. */
export const WATCH = {
  watch: { type: "boolean", short: "w", summary: "Go on showing it whenever it changes, until Ctrl-C" },
} as const satisfies Flags;

/** Of single entities. */
export const WAIT = {
  wait: {
    type: "string",
    value: "CONDITION",
    summary: "Wait until it is so: `<field>=<value>` (state=done), `exists` or `gone`; bounded by --timeout",
  },
} as const satisfies Flags;

/** Of changes. */
export const SEEN = {
  seen: {
    type: "integer",
    value: "GENERATION",
    summary: "Change it only if it is still of this generation (exit code 5 if not)",
  },
} as const satisfies Flags;

/** What happened, for scripts; documented in the reference and in `mill help exit-codes`. */
export const EXIT = {
  ok: 0,
  failure: 1,
  usage: 2,
  notFound: 3,
  auth: 4,
  conflict: 5,
  refused: 6,
  timeout: 124,
  interrupted: 130,
} as const;

export const EXIT_MEANINGS: ReadonlyArray<readonly [number, string]> = [
  [EXIT.ok, "It is done"],
  [EXIT.failure, "It failed; also `mill diff` when the two moments differ"],
  [EXIT.usage, "The command line or the input is not valid"],
  [EXIT.notFound, "There is no such thing here"],
  [EXIT.auth, "A token is missing, not valid, or does not allow it"],
  [EXIT.conflict, "It conflicts with what is there, or was changed meanwhile"],
  [EXIT.refused, "A rule or a gate does not allow it; the error says what would"],
  [EXIT.timeout, "It took longer than --timeout"],
  [EXIT.interrupted, "Interrupted by Ctrl-C"],
];
