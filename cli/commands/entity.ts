/**
 * Lists and single entities: one declaration each from what the contract says of the operation, its summary and its
 * filters, so that a new filter of the API is a flag here without a line more.
 */
import { OPERATIONS } from "../operations.ts";
import type { Shown } from "../output.ts";
import {
  type Arguments,
  type Command,
  command,
  type Example,
  type Flag,
  type Flags,
  type None,
  WAIT,
  WATCH,
} from "../table.ts";
import type { OperationName } from "../typed.ts";

// biome-ignore lint/suspicious/noExplicitAny: rows are whatever the named operation answers
type Row = any;

export interface Listing {
  readonly path: string;
  readonly operation: OperationName;
  readonly shown: ReadonlyArray<Shown<Row>>;
  /** What `-o name` prints. */
  readonly nameOf: (row: Row) => string;
  readonly examples: readonly Example[];
  readonly description?: string;
  /** Said on stderr where there is nothing to list. */
  readonly nothing: string;
  /** Left out: the operation's. */
  readonly summary?: string;
  /** Filters and order where nobody says otherwise. */
  readonly usual?: Readonly<Record<string, string>>;
  /** Collection whose changes `--watch` shows; without it there is no --watch. */
  readonly collection?: string;
}

/** Fields of every list that have flags of their own. */
const PAGING = ["limit", "cursor", "sort", "q", "fields"];

/** The flag of a filter: kebab-case; `--context` is a context of mill's own already, so an event's is `--in`. */
export const flagOf = (name: string): string =>
  name === "context" ? "in" : name.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`);

/** The filters of a list as flags, from the contract. */
function filterFlags(operation: OperationName): Flags {
  const query: Readonly<Record<string, { says: string; choices?: readonly string[] }>> = OPERATIONS[operation].query;
  const flags: Record<string, Flag> = {};
  for (const [name, { says, choices }] of Object.entries(query)) {
    if (PAGING.includes(name)) continue;
    const summary = `Only these: ${says === "" ? name : says[0]!.toLowerCase() + says.slice(1)}`;
    flags[flagOf(name)] = { type: "string", value: "VALUE", summary, ...(choices ? { choices } : {}) };
  }
  return flags;
}

export function listing(spec: Listing): Command {
  const query: Readonly<Record<string, unknown>> = OPERATIONS[spec.operation].query;
  const flags: Record<string, Flag> = { ...filterFlags(spec.operation) };
  if ("q" in query)
    flags.search = { type: "string", short: "s", value: "WORDS", summary: "Only what these words are in" };
  if ("sort" in query) {
    flags.sort = { type: "string", value: "FIELD", summary: "Sort by this field; `-` before it for descending" };
  }
  flags.limit = { type: "integer", value: "N", range: [1, 100_000], summary: "At most so many (default 50)" };
  if (spec.collection !== undefined) Object.assign(flags, WATCH);
  return command<Flags, None>({
    path: spec.path,
    // One that lists some of them is not the list.
    aliases: spec.usual === undefined ? ["ls"] : [],
    summary: spec.summary ?? OPERATIONS[spec.operation].summary,
    ...(spec.description === undefined ? {} : { description: spec.description }),
    flags,
    examples: spec.examples,
    impact: "read",
    run: async (call) => (await import("../actions/entity.ts")).list(call as never, spec),
  });
}

export interface Showing {
  readonly path: string;
  readonly operation: OperationName;
  /** Name of the argument, and of what it names. */
  readonly argument: string;
  readonly collection: string;
  /** The entity for people. */
  readonly people: (entity: Row) => Promise<string>;
  readonly examples: readonly Example[];
}

export const AT = {
  at: { type: "string", value: "MOMENT", summary: "As it was then: a time (RFC 3339), or v and its version (v3)" },
} as const;

export function showing(spec: Showing): Command {
  const withAt = "at" in OPERATIONS[spec.operation].query;
  return command<Flags, Arguments>({
    path: spec.path,
    aliases: ["get"],
    summary: OPERATIONS[spec.operation].summary,
    arguments: {
      [spec.argument]: { summary: `Id or name of the ${spec.argument}`, names: { collection: spec.collection } },
    },
    flags: { ...(withAt ? AT : {}), ...WAIT, ...WATCH },
    examples: spec.examples,
    impact: "read",
    run: async (call) => (await import("../actions/entity.ts")).show(call as never, spec),
  });
}
