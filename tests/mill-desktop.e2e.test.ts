/** What `mill` meets on a desktop, as it is: a keyring service, and the shells whose completions it writes. Skipped where there is none. */
import { execFile, spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { mkdirSync, statSync, writeFileSync } from "node:fs";
import { delimiter, join } from "node:path";
import * as assert from "uvu/assert";
import { eventually } from "./harness/eventually.ts";
import { testGateway } from "./harness/gateway.ts";
import { CHECKOUT, testMill } from "./harness/mill.ts";
import { testFolder } from "./harness/servers.ts";
import { suite } from "./harness/suite.ts";

const test = suite("mill on a desktop", { timeoutMs: 60_000 });

/** @returns what is not installed, as a reason */
const lacking = (...programs: string[]): string | undefined => {
  const missing = programs.filter((name) => spawnSync("sh", ["-c", `command -v ${name}`]).status !== 0);
  return missing.length === 0 ? undefined : `not installed: ${missing.join(", ")}`;
};

test("a token is kept in the keyring by the real service, found there, and taken out", async ({ defer, skip }) => {
  const without = lacking("secret-tool", "dbus-daemon", "dbus-send", "gnome-keyring-daemon");
  if (without !== undefined) return skip(`${without} (apt-get install libsecret-tools dbus gnome-keyring)`);
  const home = testFolder("desktop");
  const run = join(home, "run");
  mkdirSync(run, { mode: 0o700 });
  const desktop = { PATH: process.env.PATH!, HOME: home, XDG_DATA_HOME: join(home, "data"), XDG_RUNTIME_DIR: run };
  const daemon = (program: string, args: string[], env: Record<string, string>) => {
    const child = spawn(program, args, { env, stdio: ["pipe", "pipe", "ignore"] });
    const ended = once(child, "exit");
    defer(async () => {
      child.kill("SIGTERM");
      await ended;
    });
    return child;
  };
  const bus = daemon("dbus-daemon", ["--session", "--nofork", "--nopidfile", "--print-address"], desktop);
  const [line] = (await once(bus.stdout!, "data")) as [Buffer];
  const session = { ...desktop, DBUS_SESSION_BUS_ADDRESS: line.toString().trim() };
  daemon("gnome-keyring-daemon", ["--foreground", "--unlock", "--components=secrets"], session).stdin!.end("password");
  const stored = ["lookup", "service", "millrace", "context", "office"];
  const lookup = () => spawnSync("secret-tool", stored, { env: session, encoding: "utf8" }).stdout.trim();
  // Whoever asks before it is there has the bus start another, which is locked.
  const owned = ["--session", "--print-reply", "--dest=org.freedesktop.DBus", "/", "org.freedesktop.DBus.NameHasOwner"];
  const ask = [...owned, "string:org.freedesktop.secrets"];
  const answers = () => / true/.test(spawnSync("dbus-send", ask, { env: session, encoding: "utf8" }).stdout);
  await eventually(async () => answers() || undefined, "the keyring is there", 20_000);

  const gateway = await testGateway();
  const mill = testMill({ defer }, { ...session, MILLRACE_KEYRING: "" });
  await mill.out(["login", "--context", "office", "--url", gateway.url, "--token-stdin"], gateway.owner);
  assert.is(lookup(), gateway.owner);
  assert.throws(() => statSync(join(mill.env.XDG_CONFIG_HOME!, "millrace", "tokens", "office")));
  assert.match(await mill.out(["whoami"]), "home");
  await mill.out(["logout"]);
  assert.is(lookup(), "");
});

/** What a shell offers for a line that is not ended. */
const ASK: Readonly<Record<string, (folder: string) => readonly string[]>> = {
  fish: (folder) => [
    "--no-config",
    "-c",
    `mill completions fish > ${folder}/mill.fish; source ${folder}/mill.fish; for line in "mill work ty" "mill work list --sta" "mill work list -o "; complete -C $line; end`,
  ],
  // A terminal in a terminal, in which the key is pressed.
  zsh: (folder) => {
    const steps = [
      "mill completions zsh > _mill",
      "zmodload zsh/zpty",
      "zpty z zsh -f -i",
      `press() { zpty -w -n z "$1"; for i in {1..100}; do sleep 0.1; while zpty -r -t z piece; do all+=$piece; done; [[ $all == *$2* ]] && return; done; exit 1; }`,
      `zpty -w z 'fpath=($PWD $fpath); autoload -U compinit; compinit -D -u; print rea''dy'`,
      `press '' ready; all=`,
      String.raw`press $'mill work ty\t' types`,
      String.raw`press $'\x15mill work list --sta\t' state`,
      String.raw`press $'\x15mill work list -o \t\t' table`,
      "print -r -- $all",
      "zpty -d z",
    ];
    writeFileSync(join(folder, "ask.zsh"), steps.join("\n"));
    return ["-f", "ask.zsh"];
  },
};

for (const [shell, asked] of Object.entries(ASK)) {
  test(`${shell} offers what may follow`, async ({ skip }) => {
    const without = lacking(shell);
    if (without !== undefined) return skip(`${without} (apt-get install ${shell})`);
    const folder = testFolder("shell");
    const env = { ...process.env, HOME: folder, XDG_CONFIG_HOME: folder, XDG_DATA_HOME: folder, TERM: "dumb" };
    const path = `${join(CHECKOUT, "cli")}${delimiter}${process.env.PATH}`;
    const said = await new Promise<string>((resolve) => {
      const options = { cwd: folder, env: { ...env, PATH: path }, timeout: 50_000 };
      execFile(shell, [...asked(folder)], options, (_, out, err) => resolve(out + err));
    });
    for (const word of ["types", "--state", "json", "jsonl", "name", "table"]) assert.match(said, word);
  });
}

test.run();
