/** Which gateway and token a call is meant for. */
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import * as assert from "uvu/assert";
import { testFolder } from "../tests/harness/servers.ts";
import { suite } from "../tests/harness/suite.ts";
import { Failure } from "./failure.ts";
import type { Io } from "./io.ts";
import { targetOf } from "./target.ts";

const test = suite("target");
const folder = testFolder("target");
const asked = { context: undefined, url: undefined, org: undefined };

test("a context whose data folder has moved says so, unless a token is given", () => {
  const data = join(folder, "data");
  const config = join(folder, "millrace");
  mkdirSync(config, { recursive: true });
  const home = { url: "http://127.0.0.1:7400", data, ownerTokenFile: join(data, "owner.token") };
  writeFileSync(join(config, "contexts.json"), JSON.stringify({ selected: "home", contexts: { home } }));
  const io = (env: Record<string, string>) => ({ env: { XDG_CONFIG_HOME: folder, ...env } }) as unknown as Io;
  assert.throws(
    () => targetOf(io({}), asked),
    (error: unknown) => error instanceof Failure && error.code === "no-data-folder" && error.why?.startsWith(data),
  );
  assert.is(targetOf(io({ MILLRACE_TOKEN: "mrp_given" }), asked).token, "mrp_given");
  mkdirSync(data);
  assert.is(targetOf(io({}), asked).token, undefined);
  writeFileSync(home.ownerTokenFile, "mrp_kept\n");
  assert.is(targetOf(io({}), asked).token, "mrp_kept");
});

test.run();
