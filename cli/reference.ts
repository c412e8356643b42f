/** The reference of the command line as a page, from the command table. */
import { GROUPS } from "./commands.ts";
import { argumentForm, flagForm, flagSays, usageLine } from "./help.ts";
import { type Command, EXIT_MEANINGS, type Flags, GLOBAL_FLAGS } from "./table.ts";

const HEAD = `# The command line

Generated from the command table by \`cli/generate.ts\`; a test finds a drift.

\`mill <noun> <verb> [flags]\`. The answer goes to stdout, everything else to stderr. What is shown in a table for people comes
with \`-o json\` as one JSON document, with \`-o jsonl\` as one line an item, with \`-o name\` as names alone. An error says what
happened, why, and what to do; with \`-o json\` it is one line on stderr:

\`\`\`json
{"error":{"code":"not-found","message":"There is no such thing here","fix":"…","requestId":"…"}}
\`\`\`

Which gateway: \`--url\`, \`MILLRACE_URL\`, then \`--context\`, \`MILLRACE_CONTEXT\`, the selected context. Which organisation: \`--org\`,
\`MILLRACE_ORG\`, the context's, the token's own. Which token: \`MILLRACE_TOKEN\`, then the context's, from the system's keyring, a file
of its own, or the data folder of an installation on this machine.

Every write carries an Idempotency-Key and is sent again with the same one when the connection is lost. Reads show at least
what the last write of the same user showed as done.
`;

const escaped = (text: string): string => text.replaceAll("|", "\\|").replaceAll("<", "\\<");

function flagTable(flags: Flags): string {
  const rows = Object.entries(flags).map(
    ([name, flag]) => `| \`${flagForm(name, flag)}\` | ${escaped(flagSays(flag))} |`,
  );
  return `| flag | |\n| --- | --- |\n${rows.join("\n")}\n`;
}

function commandPart(command: Command): string {
  const parts = [
    `### mill ${command.path}\n`,
    `${escaped(command.summary)}. ${command.impact === "write" ? "Writes." : "Reads."}\n`,
  ];
  if (command.description) parts.push(`${escaped(command.description)}\n`);
  parts.push(`\`${usageLine(command)}\`${command.aliases ? ` (also: ${command.aliases.join(", ")})` : ""}\n`);
  const rows = Object.entries(command.arguments ?? {}).map(([name, argument]) => {
    const choices = argument.choices ? ` (${argument.choices.join(", ")})` : "";
    return `| \`${argumentForm(name, argument)}\` | ${escaped(argument.summary + choices)} |`;
  });
  if (rows.length > 0) parts.push(`| argument | |\n| --- | --- |\n${rows.join("\n")}\n`);
  if (command.flags && Object.keys(command.flags).length > 0) parts.push(flagTable(command.flags));
  const examples = command.examples.map(({ line, says }) => `# ${says}\n${line}`).join("\n");
  parts.push(`\`\`\`sh\n${examples}\n\`\`\`\n`);
  return parts.join("\n");
}

/** docs/reference/cli.md */
export function referencePage(): string {
  const parts = [
    HEAD,
    "## Exit codes\n",
    `| code | |\n| --- | --- |\n${EXIT_MEANINGS.map(([code, says]) => `| ${code} | ${says} |`).join("\n")}\n`,
    "## Flags of every command\n",
    flagTable(GLOBAL_FLAGS),
  ];
  for (const { title, commands } of GROUPS) {
    parts.push(`## ${title}\n`, ...commands.filter(({ hidden }) => !hidden).map(commandPart));
  }
  return parts.join("\n");
}
