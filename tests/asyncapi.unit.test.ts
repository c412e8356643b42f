/** The AsyncAPI document: committed, complete, valid by AsyncAPI's own schema, and true to what the deciders write. */
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { asyncapi, PUBLIC_EVENTS } from "@millrace/contracts/asyncapi.ts";
import { CONTEXTS } from "@millrace/domain/contexts.ts";
import { Ajv, type ValidateFunction } from "ajv";
import * as assert from "uvu/assert";
import { suite } from "./harness/suite.ts";

const test = suite("AsyncAPI");
const committed = JSON.parse(
  readFileSync(new URL(import.meta.resolve("@millrace/contracts/asyncapi.json")), "utf8"),
) as Record<string, any>;

test("the committed document is what the contracts say: run `node contracts/generate.ts`", () => {
  assert.equal(committed, asyncapi());
});

test("it is valid by AsyncAPI's own schema, which does refuse what is not", () => {
  const schema = createRequire(import.meta.url)("@asyncapi/specs/schemas/3.1.0.json") as object;
  const validate: ValidateFunction = new Ajv({
    strict: false,
    allErrors: true,
    meta: false,
    validateFormats: false,
  }).compile(schema);
  assert.ok(validate(committed), JSON.stringify(validate.errors?.slice(0, 5)));
  const broken = structuredClone(committed);
  broken.channels.subscriptions.adress = "x";
  assert.is(validate(broken), false);
});

test("every reference leads somewhere", () => {
  const refs = [...JSON.stringify(committed).matchAll(/"\$ref":"#\/([^"]+)"/g)].map((match) => match[1]!);
  assert.ok(refs.length > 50);
  for (const path of refs) {
    const found = path.split("/").reduce<any>((node, key) => node?.[key], committed);
    assert.ok(found !== undefined, `${path} is not there`);
  }
});

test("it holds exactly the public events of the domain, and each example of an event reads as its schema says", () => {
  const ajv = new Ajv({ strict: false });
  let checked = 0;
  assert.equal(Object.keys(PUBLIC_EVENTS).sort(), Object.keys(CONTEXTS).sort());
  for (const [context, { kinds }] of Object.entries(CONTEXTS)) {
    assert.equal(Object.keys(PUBLIC_EVENTS[context]!).sort(), Object.keys(kinds).sort());
    for (const [name, kind] of Object.entries(kinds)) {
      assert.equal(PUBLIC_EVENTS[context]![name], kind.publicEvents);
      for (const [type, declared] of Object.entries(kind.events)) {
        if (declared.toPublic === null) continue;
        const message = committed.components.messages[`${context}.${type}`];
        const example = declared.examples[declared.version];
        const shown = declared.toPublic === undefined ? example : declared.toPublic(example);
        const validate = ajv.compile(message.payload.schema);
        assert.ok(
          validate(JSON.parse(JSON.stringify(shown))),
          `${context}.${name}.${type}: ${JSON.stringify(validate.errors)}`,
        );
        checked++;
      }
    }
  }
  assert.ok(checked > 30);
});

test.run();
