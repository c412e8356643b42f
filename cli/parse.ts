/** From words to a call, by the command table alone. */
import { parseArgs } from "node:util";
import { type Failure, usage } from "./failure.ts";
import { suggestions } from "./suggest.ts";
import { type Argument, type Command, type Flag, type Flags, GLOBAL_FLAGS } from "./table.ts";

export interface Parsed {
  readonly command: Command;
  readonly args: Readonly<Record<string, string | readonly string[] | undefined>>;
  readonly flags: Readonly<Record<string, string | number | boolean | readonly string[] | undefined>>;
}

/** Help was asked for: of a command, or of the words so far. */
export interface HelpAsked {
  readonly help: readonly string[];
}

/** All words by which a command may be called: its path, and the path with each alias as last word. */
export function pathsOf(command: Command): string[][] {
  const words = command.path.split(" ");
  return [words, ...(command.aliases ?? []).map((alias) => [...words.slice(0, -1), alias])];
}

/** The command whose path the words begin with (the longest), and how many words that took. */
export function findCommand(
  table: readonly Command[],
  words: readonly string[],
): { command: Command; taken: number } | undefined {
  let best: { command: Command; taken: number } | undefined;
  for (const command of table) {
    for (const path of pathsOf(command)) {
      if (path.length <= (best?.taken ?? 0) || path.length > words.length) continue;
      if (path.every((word, index) => words[index] === word)) best = { command, taken: path.length };
    }
  }
  return best;
}

/** The words that may follow these in some command's path. */
export function nextWords(table: readonly Command[], words: readonly string[]): string[] {
  const next = table
    .filter((command) => command.hidden !== true)
    .map((command) => command.path.split(" "))
    .filter((path) => path.length > words.length && words.every((word, index) => path[index] === word))
    .map((path) => path[words.length]!);
  return [...new Set(next)];
}

/** Where the words that are no flags stand, up to `--` (only global flags may stand before a command's last word). */
function wordPlaces(argv: readonly string[]): number[] {
  const places: number[] = [];
  for (let i = 0; i < argv.length; i++) {
    const word = argv[i]!;
    if (word === "--") break;
    if (!word.startsWith("-") || word === "-") {
      places.push(i);
      continue;
    }
    const flag = Object.entries(GLOBAL_FLAGS as Flags).find(
      ([name, { short }]) => word === `--${name}` || word === `-${short}`,
    );
    if (flag !== undefined && flag[1].type !== "boolean") i++;
  }
  return places;
}

/**
 * @param argv what follows `mill`
 * @throws Failure with exit code 2, with what was probably meant
 */
export function parse(table: readonly Command[], argv: readonly string[]): Parsed | HelpAsked {
  // As every program does, whatever its commands are called.
  if (argv[0] === "--version" || argv[0] === "-V") return parse(table, ["version", ...argv.slice(1)]);
  const places = wordPlaces(argv);
  const words = places.map((place) => argv[place]!);
  const found = findCommand(table, words);
  if (found === undefined) {
    if (words.length === 0 || nextWords(table, words).length > 0) return askedWithoutCommand(table, argv, words);
    refuseUnknownFlags(argv.slice(0, places[0]));
    throw unknownCommand(table, words);
  }
  const { command, taken } = found;
  if (command.raw === true) return { command, args: { words: argv.slice(places[taken - 1]! + 1) }, flags: noFlags() };
  const used = new Set(places.slice(0, taken));
  const rest = argv.filter((_, index) => !used.has(index));
  const { positionals, flags } = readFlags(command, rest);
  if (flags.help === true) return { help: command.path.split(" ") };
  return { command, args: readArguments(command, positionals), flags };
}

/** Only the beginning of a command: help, when nothing or only help was asked for. */
function askedWithoutCommand(table: readonly Command[], argv: readonly string[], words: string[]): HelpAsked {
  refuseUnknownFlags(argv);
  const helpAsked = argv.includes("--help") || argv.includes("-h");
  if (words.length === 0 || helpAsked) return { help: words };
  const next = nextWords(table, words).join(", ");
  throw usage(`\`mill ${words.join(" ")}\` needs one word more: ${next}`, `See \`mill ${words.join(" ")} --help\``);
}

/** Of what stands before a command, where only flags of every command may. */
function refuseUnknownFlags(argv: readonly string[]): void {
  const isKnown = (word: string) => Object.hasOwn(GLOBAL_FLAGS, word.slice(2).split("=")[0]!);
  const unknown = argv.find((word) => word.startsWith("--") && word !== "--" && !isKnown(word));
  if (unknown !== undefined) throw unknownFlag(unknown.split("=")[0]!, GLOBAL_FLAGS, "mill --help");
}

function unknownCommand(table: readonly Command[], words: readonly string[]): Failure {
  let known = 0;
  while (known < words.length && nextWords(table, words.slice(0, known + 1)).length > 0) known++;
  const before = words.slice(0, known);
  const near = suggestions(words[known]!, nextWords(table, before)).map((word) => ["mill", ...before, word].join(" "));
  // A verb in the place of the noun, or the other way round: `mill list work`.
  const swapped = table.find(
    (command) => words.length > 1 && command.path === `${words[1]} ${words[0]}` && command.hidden !== true,
  );
  if (swapped !== undefined) near.unshift(`mill ${swapped.path}`);
  const meant = near.length > 0 ? `Did you mean ${near.map((line) => `\`${line}\``).join(" or ")}?` : undefined;
  const help = ["mill", ...before, "--help"].join(" ");
  return usage(`There is no command \`mill ${words.slice(0, known + 1).join(" ")}\``, meant ?? `See \`${help}\``);
}

function unknownFlag(flag: string, flags: Flags, help: string): Failure {
  const near = suggestions(flag.replace(/^-+/, ""), Object.keys(flags)).map((name) => `\`--${name}\``);
  return usage(
    `There is no flag \`${flag}\` here`,
    near.length > 0 ? `Did you mean ${near.join(" or ")}?` : `See \`${help}\``,
  );
}

const noFlags = (): Record<string, boolean | readonly string[] | undefined> =>
  Object.fromEntries(Object.entries(GLOBAL_FLAGS as Flags).map(([name, flag]) => [name, absent(flag)]));

const absent = (flag: Flag) => (flag.type === "boolean" ? false : flag.type === "strings" ? [] : undefined);

function readFlags(command: Command, rest: readonly string[]) {
  const flags: Flags = { ...command.flags, ...GLOBAL_FLAGS };
  const help = `mill ${command.path} --help`;
  const { tokens } = parseArgs({
    args: [...rest],
    options: Object.fromEntries(
      Object.entries(flags).map(([name, { type, short }]) => [
        name,
        { type: type === "boolean" ? ("boolean" as const) : ("string" as const), ...(short ? { short } : {}) },
      ]),
    ),
    strict: false,
    tokens: true,
  });
  const positionals: string[] = [];
  const values: Record<string, string | number | boolean | readonly string[] | undefined> = {};
  for (const [name, flag] of Object.entries(flags)) values[name] = absent(flag);
  for (const token of tokens) {
    if (token.kind === "positional") positionals.push(token.value);
    if (token.kind !== "option") continue;
    const flag = Object.hasOwn(flags, token.name) ? flags[token.name] : undefined;
    if (flag === undefined) throw unknownFlag(token.rawName, flags, help);
    if (flag.type === "boolean") {
      if (token.value !== undefined) throw usage(`\`${token.rawName}\` takes no value`, `See \`${help}\``);
      values[token.name] = true;
      continue;
    }
    if (token.value === undefined) throw usage(`\`${token.rawName}\` needs a value`, `See \`${help}\``);
    const value = readValue(token.rawName, flag, token.value);
    values[token.name] = flag.type === "strings" ? [...(values[token.name] as string[]), value as string] : value;
  }
  return { positionals, flags: values };
}

function readValue(name: string, flag: Flag, value: string): string | number {
  checkChoice(name, flag.choices, value);
  if (flag.type !== "integer") return value;
  const number = Number(value);
  const [least, most] = flag.range ?? [0, Number.MAX_SAFE_INTEGER];
  if (!/^\d+$/.test(value) || number < least || number > most) {
    throw usage(`\`${name}\` takes a whole number from ${least} to ${most}, not "${value}"`);
  }
  return number;
}

function checkChoice(name: string, choices: readonly string[] | undefined, value: string): void {
  if (choices === undefined || choices.includes(value)) return;
  const near = suggestions(value, choices);
  throw usage(
    `\`${name}\` takes ${choices.join(", ")}; not "${value}"`,
    near.length > 0 ? `Did you mean \`${near[0]}\`?` : undefined,
  );
}

function readArguments(command: Command, positionals: readonly string[]) {
  const declared = Object.entries((command.arguments ?? {}) as Readonly<Record<string, Argument>>);
  const values: Record<string, string | readonly string[] | undefined> = {};
  const help = `See \`mill ${command.path} --help\``;
  let next = 0;
  for (const [name, argument] of declared) {
    if (argument.many) {
      values[name] = positionals.slice(next);
      next = Math.max(next, positionals.length);
      if (!argument.optional && values[name]!.length === 0)
        throw usage(`<${name}> is missing: ${argument.summary}`, help);
      continue;
    }
    const value = positionals[next++];
    if (value === undefined && !argument.optional) throw usage(`<${name}> is missing: ${argument.summary}`, help);
    if (value !== undefined) checkChoice(`<${name}>`, argument.choices, value);
    values[name] = value;
  }
  const extra = positionals[next];
  if (extra === undefined) return values;
  const isGroup = declared.length === 0 ? "takes no argument" : "takes no more arguments";
  throw usage(`\`mill ${command.path}\` ${isGroup}, and there is "${extra}"`, help);
}
