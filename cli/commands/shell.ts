/** mill itself: the raw way to the API, completions, version, help. */
import { command } from "../table.ts";

const shell = () => import("../actions/shell.ts");

export const shellCommands = [
  command({
    path: "api",
    summary: "Send one request to the gateway as it is: the way to what has no command",
    description:
      "With the context's token, an Idempotency-Key and retries, as every command has them. `{org}` in the path is filled in. The " +
      "answer's body goes to stdout; a problem sets the exit code.",
    arguments: {
      method: { summary: "GET, POST, PUT, PATCH or DELETE" },
      path: { summary: "From the root: /v1/organisations/{org}/work-items" },
    },
    flags: {
      body: { type: "string", short: "d", value: "JSON", summary: "The body; `-` reads it from standard input" },
      header: { type: "strings", short: "H", value: "NAME:VALUE", summary: "One more header" },
      include: { type: "boolean", short: "i", summary: "Show status and headers on stderr" },
    },
    examples: [
      { line: "mill api GET /v1/whoami", says: "A read" },
      { line: 'mill api POST /v1/organisations -d \'{"name":"lab"}\'', says: "A write" },
    ],
    impact: "write",
    run: async (call) => (await shell()).api(call),
  }),
  command({
    path: "completions",
    summary: "Print completions for a shell, to be read by its start-up file",
    arguments: { shell: { summary: "The shell", choices: ["bash", "zsh", "fish"] } },
    examples: [
      { line: 'eval "$(mill completions bash)"', says: "In ~/.bashrc" },
      { line: "mill completions zsh > ~/.zfunc/_mill", says: "In a folder of zsh's fpath" },
      { line: "mill completions fish > ~/.config/fish/completions/mill.fish", says: "For fish" },
    ],
    impact: "read",
    run: async (call) => (await shell()).completions(call),
  }),
  command({
    path: "__complete",
    summary: "What may stand in the place of the last word",
    arguments: { words: { summary: "The words so far", many: true, optional: true } },
    examples: [{ line: "mill __complete work l", says: "Called by the shells" }],
    impact: "read",
    hidden: true,
    raw: true,
    run: async (call) => (await shell()).complete(call),
  }),
  command({
    path: "version",
    summary: "Print the version of mill, and of the Node that runs it",
    examples: [{ line: "mill version", says: "For a report" }],
    impact: "read",
    run: async (call) => (await shell()).version(call),
  }),
  command({
    path: "help",
    summary: "Help for a command, for one noun, or of the exit codes",
    arguments: {
      words: { summary: "A command, a noun, or exit-codes", many: true, optional: true, names: { from: "commands" } },
    },
    flags: { all: { type: "boolean", summary: "Every command as JSON, with its flags and whether it writes" } },
    examples: [
      { line: "mill help work move", says: "The same as mill work move --help" },
      { line: "mill help exit-codes", says: "What the exit codes mean" },
      { line: "mill help --all -o json", says: "The whole command table, for a program" },
    ],
    impact: "read",
    run: async (call) => (await shell()).help(call),
  }),
];
