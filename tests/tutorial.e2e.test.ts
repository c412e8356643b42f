/**
 * docs/tutorial.md, followed to the letter: its `sh` blocks are run in order in one shell, and what is printed is what the
 * `text` block after each says, but for ids, times and the like.
 */
import { type SpawnOptions, spawn } from "node:child_process";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import * as assert from "uvu/assert";
import { CHECKOUT, follow, ONE_PROCESS, type Running, testMill } from "./harness/mill.ts";
import { suite } from "./harness/suite.ts";

const test = suite("tutorial", { timeoutMs: 240_000 });

interface Block {
  readonly commands: string;
  readonly isBackground: boolean;
  readonly prints: string | undefined;
}

function blocksOf(page: string): Block[] {
  const blocks: Block[] = [];
  for (const [, language, flag, text] of page.matchAll(/^```(sh|text)( background)?\n(.*?)^```$/gms)) {
    if (language === "sh") blocks.push({ commands: text!, isBackground: flag !== undefined, prints: undefined });
    else blocks.push({ ...blocks.pop()!, prints: text! });
  }
  return blocks;
}

/** Never the machine's own engine. */
const NO_ENGINE = { MILLRACE_DOCKER_HOST: "unix:///nonexistent/docker.sock" };
/** Whose Node may be another than ours: what our tests ask of theirs is nothing for it. */
const NEWCOMER = { MILLRACE_PORT: "0", NODE_OPTIONS: "" };
/** Whoever has used Git before has told it this. */
const WHO = {
  GIT_AUTHOR_NAME: "Ada",
  GIT_AUTHOR_EMAIL: "ada@example.org",
  GIT_COMMITTER_NAME: "Ada",
  GIT_COMMITTER_EMAIL: "ada@example.org",
};

/** What differs from one run to the next. */
const VARYING: ReadonlyArray<readonly [RegExp, string]> = [
  // Tidying up is no part of the verdict: sometimes it is seen, too.
  [/^ *CLEANUP .*\n/gm, ""],
  [/\b([a-z]{3})_[0-9a-hjkmnp-tv-z]{26}\b/g, "<$1>"],
  [/\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z/g, "<time>"],
  [/\bowner-[0-9a-z]{6}\b/g, "<owner>"],
  [/\breq_[\w-]{14}/g, "<request>"],
  [/http:\/\/127\.0\.0\.1:\d+/g, "<url>"],
  [/localhost:\d+/g, "localhost:<port>"],
  [/\b\d+(\.\d+)? (s|ms)\b/g, "<duration>"],
  [/\bcommit [0-9a-f]{10}\b/g, "commit <hash>"],
  [/\b\d+ probes\b/g, "<probes>"],
  [/[ \t]+/g, " "],
];
const steady = (text: string): string =>
  VARYING.reduce((now, [pattern, word]) => now.replace(pattern, word), text)
    .split("\n")
    .map((line) => line.trimEnd())
    .join("\n")
    .trimEnd();

test("every command works, and prints what the page says", async ({ defer }) => {
  const blocks = blocksOf(readFileSync(join(CHECKOUT, "docs", "tutorial.md"), "utf8"));
  assert.ok(blocks.length > 8, `${blocks.length} blocks`);
  const { env } = testMill({ defer }, { ...NEWCOMER, ...ONE_PROCESS, ...NO_ENGINE, ...WHO });
  let product: Running | undefined;
  defer(() => stop(product));
  // One shell for all of the second terminal: what one block sets the next one has.
  const shell = follow(spawn("bash", ["-s"], { cwd: CHECKOUT, env, stdio: ["pipe", "pipe", "pipe"] }));
  defer(() => shell.child.kill("SIGKILL"));
  shell.child.stdin!.write("set -e -o pipefail; exec 2>&1\n");
  for (const [index, { commands, isBackground, prints }] of blocks.entries()) {
    if (isBackground) {
      await stop(product);
      const terminal: SpawnOptions = { cwd: CHECKOUT, env, stdio: ["ignore", "pipe", "pipe"], detached: true };
      product = follow(spawn("bash", ["-c", commands.trim()], terminal));
      await product.says("Ctrl-C stops it.");
      continue;
    }
    const before = shell.out().length;
    shell.child.stdin!.write(`${commands}\necho "== ${index}"\n`);
    await shell.says(`== ${index}\n`);
    const printed = shell.out().slice(before).replace(`== ${index}\n`, "");
    if (prints !== undefined) assert.is(steady(printed), steady(prints), commands);
  }
  await stop(product);
});

/** Ctrl-C: the terminal sends it to all that run in the foreground. npm itself dies of it; the product stops in order. */
async function stop(product: Running | undefined): Promise<void> {
  if (product === undefined || product.child.exitCode !== null || product.child.signalCode !== null) return;
  process.kill(-product.child.pid!, "SIGINT");
  const { err } = await product.ended;
  assert.match(err, "stopped; all state is in");
}

test.run();
