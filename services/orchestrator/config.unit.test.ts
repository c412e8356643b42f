/** The label under which a node knows its own containers. */
import { mkdirSync, readdirSync, renameSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import * as assert from "uvu/assert";
import { testFolder } from "../../tests/harness/servers.ts";
import { suite } from "../../tests/harness/suite.ts";
import { scopeOf } from "./config.ts";

const test = suite("orchestrator's settings");
const folder = testFolder("scope");

test("a data folder that moved knows what runs in the engine; another one is another's", () => {
  const at = (name: string) => join(folder, name);
  const scope = (name: string) => scopeOf({ node: "local", data: at(name) }, join(at(name), "orchestrator/local"));
  mkdirSync(join(at("a"), "orchestrator/local"), { recursive: true });
  const before = scope("a");
  assert.match(before, /^local\.[0-9a-f]{8}$/);
  renameSync(at("a"), at("b"));
  assert.is(scope("b"), before);
  mkdirSync(join(at("a"), "orchestrator/local"), { recursive: true });
  writeFileSync(join(at("a"), "orchestrator/local/docker-scope"), "local.other\n");
  assert.is(scope("a"), "local.other");
  assert.equal(readdirSync(join(at("a"), "orchestrator/local")), ["docker-scope"]);
  assert.is(scopeOf({ node: "local", data: at("b"), dockerScope: "said" }, "/nowhere"), "said");
});

test.run();
