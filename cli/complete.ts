/**
 * Completions. The scripts for the shells only hand the words over to `mill __complete`; what may follow is said here,
 * by the command table, so that all three shells know the same and nothing in them grows old.
 */
import { readContexts } from "./contexts.ts";
import { connect } from "./gateway.ts";
import type { Io } from "./io.ts";
import { COLLECTIONS } from "./operations.ts";
import { findCommand, nextWords } from "./parse.ts";
import { type Argument, type Command, type Flag, type Flags, GLOBAL_FLAGS, type NameSource } from "./table.ts";
import { type Asked, targetOf } from "./target.ts";

export type Shell = "bash" | "zsh" | "fish";

/** Nobody waits longer for a key press, in milliseconds. */
const PATIENCE_MS = 1_000;

const SCRIPTS: Readonly<Record<Shell, string>> = {
  bash: `# mill: completions for bash
_mill() {
  local IFS=$'\\n' word="\${COMP_WORDS[COMP_CWORD]}"
  COMPREPLY=($("\${COMP_WORDS[0]}" __complete "\${COMP_WORDS[@]:1:COMP_CWORD}" 2>/dev/null))
  # A word that holds a colon or an equals sign is cut there by bash: offer what follows.
  if [[ "$word" == "=" ]]; then COMPREPLY=(); fi
}
complete -o default -F _mill mill
`,
  zsh: `#compdef mill
# mill: completions for zsh
_mill() {
  local -a found
  found=("\${(@f)$("\${words[1]}" __complete "\${(@)words[2,CURRENT]}" 2>/dev/null)}")
  found=("\${(@)found:#}")
  if (( \${#found} )); then compadd -Q -- "\${found[@]}"; else _files; fi
}
if [ "$funcstack[1]" = "_mill" ]; then _mill "$@"; else compdef _mill mill; fi
`,
  fish: `# mill: completions for fish
function __mill_complete
    set -l words (commandline -opc) (commandline -ct)
    $words[1] __complete $words[2..-1] 2>/dev/null
end
complete -c mill -f -a '(__mill_complete)'
`,
};

export const completionScript = (shell: Shell): string => SCRIPTS[shell];

/**
 * What may stand in the place of the last word; empty where anything may.
 * @param words after `mill`, the last one unfinished (possibly empty)
 */
export async function candidates(words: readonly string[], io: Io): Promise<string[]> {
  const { COMMANDS } = await import("./commands.ts");
  const current = words.at(-1) ?? "";
  const { plain, open, asked } = understand(COMMANDS, words.slice(0, -1));
  const beginsSo = (found: readonly string[]) => found.filter((word) => word.startsWith(current));
  if (open !== undefined) return beginsSo(await namesOf(open, io, asked));
  const found = findCommand(COMMANDS, plain);
  if (current.startsWith("-")) {
    const flags: Flags = { ...found?.command.flags, ...GLOBAL_FLAGS };
    const equals = /^--([a-z-]+)=(.*)$/.exec(current);
    const flag = equals === null ? undefined : flags[equals[1]!];
    if (equals !== null) {
      const values = flag === undefined ? [] : await namesOf(flag, io, asked);
      return values.filter((value) => value.startsWith(equals[2]!)).map((value) => `--${equals[1]}=${value}`);
    }
    return beginsSo(Object.keys(flags).map((name) => `--${name}`));
  }
  const next = nextWords(COMMANDS, plain);
  if (found === undefined || next.length > 0) {
    if (next.length > 0) return beginsSo(next);
  }
  if (found === undefined) return [];
  const argument = argumentAt(found.command, plain.length - found.taken);
  return argument === undefined ? [] : beginsSo(await namesOf(argument, io, asked));
}

/** The words without flags, the flag whose value is being typed, and which gateway was asked for. */
function understand(table: readonly Command[], words: readonly string[]) {
  const plain: string[] = [];
  const asked: { -readonly [K in keyof Asked]: string | undefined } = {
    context: undefined,
    url: undefined,
    org: undefined,
  };
  let open: Flag | undefined;
  let openName = "";
  for (const word of words) {
    if (open !== undefined) {
      if (openName in asked) asked[openName as keyof Asked] = word;
      open = undefined;
      continue;
    }
    if (!word.startsWith("-") || word === "-") {
      plain.push(word);
      continue;
    }
    const flags: Flags = { ...findCommand(table, plain)?.command.flags, ...GLOBAL_FLAGS };
    const entry = Object.entries(flags).find(([name, { short }]) => word === `--${name}` || word === `-${short}`);
    if (entry === undefined || entry[1].type === "boolean") continue;
    [openName, open] = entry;
  }
  return { plain, open, asked };
}

function argumentAt(command: Command, place: number): Argument | undefined {
  const declared = Object.values((command.arguments ?? {}) as Readonly<Record<string, Argument>>);
  const last = declared.at(-1);
  return declared[place] ?? (last?.many ? last : undefined);
}

async function namesOf(of: Flag | Argument, io: Io, asked: Asked): Promise<string[]> {
  if (of.choices !== undefined) return [...of.choices];
  if (of.names === undefined) return [];
  try {
    return await namesFrom(of.names, io, asked);
  } catch {
    return []; // no gateway, no token: nothing is offered, and nothing is said in the middle of a line
  }
}

async function namesFrom(source: NameSource, io: Io, asked: Asked): Promise<string[]> {
  if ("collection" in source) return collectionNames(source.collection, io, asked);
  if (source.from === "contexts") return Object.keys(readContexts(io.env).contexts);
  if (source.from === "kinds") return COLLECTIONS.map(({ kind }) => kind.slice(kind.indexOf(".") + 1));
  if (source.from === "organisations") return collectionNames("organisations", io, asked);
  const { COMMANDS } = await import("./commands.ts");
  return nextWords(COMMANDS, []);
}

interface Named {
  readonly id: string;
  readonly spec?: { readonly name?: string };
}

/** Ids or, where the kind has them, names of the newest hundred. */
async function collectionNames(collection: string, io: Io, asked: Asked): Promise<string[]> {
  const gateway = connect(
    targetOf(io, asked),
    { ...io, interrupted: AbortSignal.timeout(PATIENCE_MS) },
    {
      seconds: PATIENCE_MS / 1000,
      verbose: false,
    },
  );
  const base = "/v1/organisations";
  const path =
    collection === "organisations" ? base : `${base}/${encodeURIComponent(await gateway.org())}/${collection}`;
  const answer = await gateway.raw({ method: "GET", path: `${path}?limit=100` });
  if (answer.status !== 200) return [];
  const { items } = JSON.parse(answer.text) as { items: readonly Named[] };
  return items.map(({ id, spec }) => spec?.name ?? id);
}
