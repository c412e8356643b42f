/** Help as text, from the command table. */
import {
  type Argument,
  type Command,
  EXIT_MEANINGS,
  type Flag,
  type Flags,
  GLOBAL_FLAGS,
  type Group,
} from "./table.ts";

/** `<item>`, `[<item>]`, `<label>…` */
export function argumentForm(name: string, argument: Argument): string {
  const form = argument.many ? `<${name}>…` : `<${name}>`;
  return argument.optional ? `[${form}]` : form;
}

/** `mill work move <item> <state> [flags]` */
export function usageLine(command: Command): string {
  const parts = Object.entries(command.arguments ?? {}).map(([name, argument]) => argumentForm(name, argument));
  return ["mill", command.path, ...parts, command.raw ? "" : "[flags]"].filter((part) => part !== "").join(" ");
}

/** `-o, --output FORMAT` */
export function flagForm(name: string, flag: Flag): string {
  const value = flag.type === "boolean" ? "" : ` ${flag.value ?? "VALUE"}`;
  return `${flag.short ? `-${flag.short}, ` : ""}--${name}${value}`;
}

/** The summary, with what else there is to say about a value. */
export function flagSays(flag: Flag): string {
  const choices = flag.choices ? ` (${flag.choices.join(", ")})` : "";
  return `${flag.summary}${choices}${flag.type === "strings" ? " (may be repeated)" : ""}`;
}

/** Pairs in two columns, the right one folded at `width`. */
export function twoColumns(rows: ReadonlyArray<readonly [string, string]>, width = 100): string {
  const left = Math.min(34, Math.max(...rows.map(([term]) => term.length)) + 2);
  return rows
    .map(([term, says]) => {
      const lines = fold(says, Math.max(30, width - left - 2));
      const first = term.length + 2 > left ? [`  ${term}`, ...indent(lines, left + 2)] : [];
      if (first.length > 0) return first.join("\n");
      return [`  ${term.padEnd(left)}${lines[0] ?? ""}`, ...indent(lines.slice(1), left + 2)].join("\n");
    })
    .join("\n");
}

const indent = (lines: readonly string[], by: number): string[] => lines.map((line) => " ".repeat(by) + line);

/** Words in lines of at most `width` characters; line feeds stay. */
export function fold(text: string, width: number): string[] {
  return text.split("\n").flatMap((paragraph) => {
    const lines: string[] = [];
    let line = "";
    for (const word of paragraph.split(" ")) {
      if (line !== "" && line.length + 1 + word.length > width) {
        lines.push(line);
        line = word;
      } else line = line === "" ? word : `${line} ${word}`;
    }
    return [...lines, line];
  });
}

const flagRows = (flags: Flags): Array<readonly [string, string]> =>
  Object.entries(flags).map(([name, flag]) => [flagForm(name, flag), flagSays(flag)] as const);

export function commandHelp(command: Command, width?: number): string {
  const parts = [`${command.summary}.`];
  if (command.description) parts.push(fold(command.description, width ?? 100).join("\n"));
  parts.push(`Usage:\n  ${usageLine(command)}`);
  if (command.aliases) parts.push(`Also:\n  ${command.aliases.join(", ")}`);
  const rows = Object.entries(command.arguments ?? {}).map(([name, argument]) => {
    const choices = argument.choices ? ` (${argument.choices.join(", ")})` : "";
    return [argumentForm(name, argument), `${argument.summary}${choices}`] as const;
  });
  if (rows.length > 0) parts.push(`Arguments:\n${twoColumns(rows, width)}`);
  if (command.flags && Object.keys(command.flags).length > 0) {
    parts.push(`Flags:\n${twoColumns(flagRows(command.flags), width)}`);
  }
  parts.push(`Flags of every command:\n${twoColumns(flagRows(GLOBAL_FLAGS), width)}`);
  parts.push(`Examples:\n${command.examples.map(({ line, says }) => `  # ${says}\n  ${line}`).join("\n")}`);
  return `${parts.join("\n\n")}\n`;
}

/** Help for the words so far: everything, or the commands of one noun. */
export function groupHelp(groups: readonly Group[], words: readonly string[], width?: number): string {
  const parts: string[] = [];
  const shown: Command[] = [];
  for (const group of groups) {
    const commands = group.commands.filter(
      (command) => !command.hidden && words.every((word, index) => command.path.split(" ")[index] === word),
    );
    if (commands.length === 0) continue;
    shown.push(...commands);
    parts.push(
      `${group.title}:\n${twoColumns(
        commands.map(({ path, summary }) => [path, summary] as const),
        width,
      )}`,
    );
  }
  const head =
    words.length === 0
      ? "mill runs Millrace on one machine, and talks to a gateway anywhere."
      : `mill ${words.join(" ")}: ${shown.length} commands.`;
  const first = shown.find((command) => command.path === "work open") ?? shown[0];
  const example = first?.examples[0];
  if (example) parts.push(`Example:\n  # ${example.says}\n  ${example.line}`);
  parts.push(`Help for one command: mill ${[...words, "…"].join(" ")} --help`);
  return `${[head, "Usage: mill <noun> <verb> [flags]", ...parts].join("\n\n")}\n`;
}

export function exitCodesHelp(): string {
  return `Exit codes:\n${twoColumns(EXIT_MEANINGS.map(([code, says]) => [`${code}`, says] as const))}\n`;
}
