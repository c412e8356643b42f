/**
 * The real client of flat-manager (Python, to 0.4.6), where `FLAT_MANAGER_CLIENT` names it: it is no part of this product. It needs Debian's
 * python3-gi, gir1.2-ostree-1.0, python3-aiohttp and python3-tenacity; `FLAT_MANAGER_PYTHON` names another Python than /usr/bin/python3.
 */
import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { promisify } from "node:util";
import { published } from "@millrace/publisher/adapters/ostree/summary.ts";
import { develop } from "../harness/publisher.ts";
import { suite } from "../harness/suite.ts";
import { flatServer } from "./server.ts";

const test = suite("the real client of flat-manager", { timeoutMs: 240_000 });
const run = promisify(execFile);

test("creates, pushes, commits, publishes, purges", async (context) => {
  const program = process.env.FLAT_MANAGER_CLIENT;
  if (program === undefined) return context.skip("FLAT_MANAGER_CLIENT names no client of flat-manager");
  const { started, token, publishing, mainOf } = await flatServer();
  const made = await publishing(context);
  const main = await mainOf("stable");
  const dev = await develop(made, "real");
  const client = async (...args: string[]): Promise<string> => {
    const env = { ...process.env, REPO_TOKEN: token() };
    const python = process.env.FLAT_MANAGER_PYTHON ?? "/usr/bin/python3";
    const { stdout } = await run(python, [program, ...args], { env, timeout: 200_000 });
    return stdout.trim();
  };
  const build = await client("create", started.url, "stable", "org.test.Hello");
  assert.match(build, /\/api\/v1\/build\/\d+$/);
  await client("push", "--commit", "--publish", "--wait", "--wait-update", build, dev.from.root);
  assert.match((await published(main))?.get(dev.ref) ?? "", /^[0-9a-f]{64}$/);
  await client("purge", build);
});

test.run();
