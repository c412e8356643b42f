/** What holds for every endpoint there is, and for the documents made from them. */
import { readFileSync } from "node:fs";
import * as Context from "effect/Context";
import * as HttpApi from "effect/http-api/HttpApi";
import type * as HttpApiEndpoint from "effect/http-api/HttpApiEndpoint";
import * as assert from "uvu/assert";
import { suite } from "../tests/harness/suite.ts";
import { Api } from "./api.ts";
import { openapi } from "./openapi.ts";
import { PERMISSIONS, Requires } from "./permissions.ts";
import { isToken, makeToken } from "./token.ts";

const test = suite("the API's contract");

const endpoints: HttpApiEndpoint.Top[] = [];
HttpApi.reflect(Api as never, {
  onGroup: () => {},
  onEndpoint: ({ endpoint }) => void endpoints.push(endpoint as never),
});
const named = (endpoint: HttpApiEndpoint.Top) => `${endpoint.method} ${endpoint.path}`;

test("every endpoint says who may call it, by a permission that exists", () => {
  assert.ok(endpoints.length > 20);
  const silent = endpoints.filter((endpoint) => {
    const permission = Context.getOrUndefined(endpoint.annotations, Requires);
    return (
      permission === undefined ||
      !(permission in PERMISSIONS || permission === "authenticated" || permission === "public")
    );
  });
  assert.equal(silent.map(named), []);
});

/** What lets in stands in the body. */
const LETS_IN = new Set(["acceptInvitation"]);

test("reading permissions never allow a change", () => {
  const wrong = endpoints.filter(({ method, annotations, identifier }) => {
    if (LETS_IN.has(identifier)) return false;
    const permission = Context.getOrUndefined(annotations, Requires)!;
    return !["GET", "HEAD", "OPTIONS"].includes(method) && /:(read|audit)$|^authenticated$|^public$/.test(permission);
  });
  assert.equal(wrong.map(named), []);
});

test("every path begins with the version, and is kebab-case but for its parameters", () => {
  const wrong = endpoints.filter(({ path }) => !/^\/v1(\/(:[a-z][A-Za-z]*|[a-z0-9-]+))+$/.test(path));
  assert.equal(wrong.map(named), []);
});

test("what is listed can be paged", () => {
  const document = openapi();
  const lists = Object.values<any>(document.paths).flatMap((operations) => Object.values<any>(operations));
  const unpaged = lists.filter(({ responses, parameters = [] }) => {
    const schema = responses["200"]?.content?.["application/json"]?.schema;
    return schema?.properties?.nextCursor !== undefined && parameters.every(({ name }: any) => name !== "cursor");
  });
  assert.equal(
    unpaged.map(({ operationId }) => operationId).sort(),
    // Bounded by themselves: a thousand letters, a projection per view and context.
    ["system.listDeadLetters", "system.listProjections"],
  );
});

test("the committed OpenAPI document is what the contracts say (else: node contracts/generate.ts)", () => {
  const committed = JSON.parse(readFileSync(new URL("openapi.json", import.meta.url), "utf8"));
  assert.equal(committed, openapi());
});

test("the OpenAPI document: every operation has a name, a summary, a permission and problems", () => {
  const document = openapi();
  assert.match(document.openapi, /^3\.1\./);
  const operations = Object.values<any>(document.paths).flatMap((path) => Object.values<any>(path));
  assert.is(operations.length, endpoints.length);
  for (const { operationId, summary, responses, "x-permission": permission } of operations) {
    assert.ok(operationId && summary && permission, operationId);
    for (const status of ["400", "401", "403", "404", "409", "412", "413", "415", "422", "428", "429", "503"]) {
      assert.ok(responses[status], `${operationId} lacks ${status}`);
    }
  }
  const ids = operations.map(({ operationId }) => operationId);
  assert.is(new Set(ids).size, ids.length);
});

test("every reference in the OpenAPI document leads somewhere", () => {
  const document = openapi();
  const dangling: string[] = [];
  const walk = (value: unknown): void => {
    if (typeof value !== "object" || value === null) return;
    const { $ref } = value as { $ref?: unknown };
    if (typeof $ref === "string") {
      const target = $ref
        .slice(2)
        .split("/")
        .reduce<any>((at, step) => at?.[step.replaceAll("~1", "/").replaceAll("~0", "~")], document);
      if (target === undefined) dangling.push($ref);
    }
    for (const inner of Object.values(value)) walk(inner);
  };
  walk(document);
  assert.equal([...new Set(dangling)], []);
});

test("tokens: made of random digits, and told from mistyped ones", () => {
  let seed = 7;
  const random = (size: number) =>
    Uint8Array.from({ length: size }, () => {
      seed = (seed * 48_271) % 2_147_483_647;
      return seed & 0xff;
    });
  const token = makeToken("mrt", random);
  assert.match(token, /^mrt_[0-9A-Za-z]{46}$/);
  assert.ok(isToken(token));
  for (const wrong of [token.slice(0, -1), `${token}a`, token.replace("mrt_", "abc_"), swapped(token), "", "mrt_"]) {
    assert.not(isToken(wrong), wrong);
  }
});

/** Two neighbouring digits that differ, exchanged: what people do when they copy by hand. */
function swapped(token: string): string {
  let at = 10;
  while (token[at] === token[at + 1]) at++;
  return token.slice(0, at) + token[at + 1] + token[at] + token.slice(at + 2);
}

test.run();
