/** What is held and what it allows, as properties: more never takes away, children inherit, and nobody gets at more than the giver has. */
import assert from "node:assert/strict";
import * as fc from "fast-check";
import { suite } from "../tests/harness/suite.ts";
import { beyondOwn, decideAccess, grantsOfBinding, type Held, type Layer, Powers } from "./access.ts";
import { BUILT_IN_ROLES } from "./identity/roles.ts";
import { makeId } from "./ids.ts";
import { allows, PERMISSIONS } from "./permissions.ts";

const test = suite("access");

const ORG = makeId("org", 1, new Uint8Array(10));
const APPS = [1, 2, 3].map((n) => makeId("app", n, new Uint8Array(10)));
const DEPLOYMENTS = APPS.map((_, n) => makeId("dep", n, new Uint8Array(10)));
/** A deployment belongs to the application of the same number. */
const LINEAGES = [
  [ORG],
  ...APPS.map((app) => [app, ORG]),
  ...DEPLOYMENTS.map((deployment, n) => [deployment, APPS[n]!, ORG]),
];
const permissions = Object.keys(PERMISSIONS);
const permission = fc.constantFrom(...permissions);
const lineage = fc.constantFrom(...LINEAGES);
const what = fc.oneof(
  { weight: 6, arbitrary: permission },
  { weight: 2, arbitrary: permission.map((text) => `${text.split(":")[0]}:*`) },
  { weight: 1, arbitrary: fc.constant("*") },
);
const resource = fc.constantFrom(ORG, ...APPS, ...DEPLOYMENTS);
const grant = fc
  .tuple(what, fc.option(resource, { nil: undefined }))
  .map(([text, id]) => (id === undefined ? text : `${text}@${id}`));
const held = fc
  .array(grant, { maxLength: 6 })
  .map((grants): Held[] => grants.map((text) => ({ grant: text, via: { kind: "grant" } })));
const layerOf =
  (kind: "member" | "token") =>
  (items: Held[]): Layer => ({ of: { kind, id: kind, name: kind }, held: items });
const layers = fc
  .tuple(fc.option(held.map(layerOf("member")), { nil: undefined }), held.map(layerOf("token")))
  .map(([member, token]) => (member === undefined ? [token] : [member, token]));

const allowed = (all: ReadonlyArray<Layer>, verb: string, ids: ReadonlyArray<string>) =>
  decideAccess(all, verb, ids).allowed;
const property = (arbitraries: ReadonlyArray<fc.Arbitrary<any>>, predicate: (...values: any[]) => void) =>
  fc.assert(
    fc.property(fc.tuple(...arbitraries), (values) => predicate(...values)),
    { numRuns: 2_000 },
  );

test("both ways to ask answer alike, and as each layer's grants say", () => {
  let yes = 0;
  property([layers, permission, lineage], (all: Layer[], verb: string, ids: string[]) => {
    const told = allowed(all, verb, ids);
    assert.equal(new Powers(all).allows(verb, ORG, ids), told);
    assert.equal(
      all.every((layer) =>
        allows(
          layer.held.map((one) => one.grant),
          verb,
          ids,
        ),
      ),
      told,
    );
    if (told) yes++;
  });
  assert.ok(yes > 20, `only ${yes} were allowed`);
});

test("more grants never take anything away", () => {
  property([layers, held, permission, lineage], (all: Layer[], more: Held[], verb: string, ids: string[]) => {
    if (!allowed(all, verb, ids)) return;
    const grown = all.map((layer) => ({ ...layer, held: [...layer.held, ...more] }));
    assert.ok(allowed(grown, verb, ids));
  });
});

test("another layer never adds anything", () => {
  property([layers, held, permission, lineage], (all: Layer[], more: Held[], verb: string, ids: string[]) => {
    if (!allowed(all, verb, ids)) assert.ok(!allowed([...all, layerOf("token")(more)], verb, ids));
  });
});

test("what is allowed for the organisation or an application is allowed for what belongs to it", () => {
  property([layers, permission, fc.nat(2)], (all: Layer[], verb: string, n: number) => {
    const [app, deployment] = [
      [APPS[n]!, ORG],
      [DEPLOYMENTS[n]!, APPS[n]!, ORG],
    ];
    if (allowed(all, verb, [ORG])) assert.ok(allowed(all, verb, app));
    if (allowed(all, verb, app)) assert.ok(allowed(all, verb, deployment));
  });
});

test("why is told: a reason where it is allowed, and what would do where it is not", () => {
  property([layers, permission, lineage], (all: Layer[], verb: string, ids: string[]) => {
    const { because, missing } = decideAccess(all, verb, ids);
    assert.equal(new Set([...because, ...missing].map(({ layer }) => layer.kind)).size, all.length);
    // Any one of what is missing, in each layer that lacks something, makes it allowed.
    const choice = missing.length === 0 ? 0 : ids.length;
    const mended = all.map((layer) => {
      const lack = missing.find((one) => one.layer === layer.of);
      const extra =
        lack === undefined
          ? []
          : [{ grant: lack.grants[choice % lack.grants.length]!, via: { kind: "grant" } as const }];
      return { ...layer, held: [...layer.held, ...extra] };
    });
    assert.ok(allowed(mended, verb, ids));
  });
});

test("nobody gets at more by what somebody gives: whatever can be given, the giver has", () => {
  let given = 0;
  property(
    [layers, fc.array(grant, { minLength: 1, maxLength: 4 }), permission, lineage],
    (giver: Layer[], grants: string[], verb: string, ids: string[]) => {
      if (beyondOwn(new Powers(giver).grants, grants).length > 0) return;
      given++;
      const receiver = [layerOf("token")(grants.map((text) => ({ grant: text, via: { kind: "grant" } })))];
      if (allowed(receiver, verb, ids)) assert.ok(allowed(giver, verb, ids), `${grants} by ${new Powers(giver).text}`);
    },
  );
  assert.ok(given > 20, `only ${given} could be given`);
});

test("a binding never gives more than its role, and none beyond its place", () => {
  const role = fc.array(what, { maxLength: 5 });
  const at = fc.oneof(fc.constant(undefined), fc.constantFrom("applications", "work"), resource);
  property(
    [role, at, permission, lineage],
    (grants: string[], place: string | undefined, verb: string, ids: string[]) => {
      const held = grantsOfBinding(grants, place);
      if (!allows(held, verb, ids)) return;
      assert.ok(allows(grants, verb, ids));
      if (place === undefined || place === ORG) return;
      if (place.includes("_")) assert.ok(ids.includes(place) && verb.startsWith("applications:"));
      else assert.ok(verb.startsWith(`${place}:`));
    },
  );
});

test("who has no layer may nothing", () => {
  for (const verb of permissions) {
    assert.equal(new Powers([]).allows(verb, ORG, [ORG]), false);
    assert.equal(decideAccess([], verb, [ORG]).allowed, false);
  }
  assert.deepEqual(beyondOwn([], ["work:read"]), ["work:read"]);
});

test("the roles that come with the product hold each other: owner all, admin all but ownership, viewer the least", () => {
  const of = (name: string) => BUILT_IN_ROLES.find((role) => role.name === name)!.grants;
  const mayGive = (giver: string, role: string) => beyondOwn([of(giver)], of(role)).length === 0;
  for (const { name } of BUILT_IN_ROLES) {
    assert.ok(mayGive("owner", name));
    assert.equal(mayGive("admin", name), name !== "owner", name);
    assert.ok(mayGive(name, "viewer"), name);
    if (!["owner", "admin"].includes(name)) assert.equal(mayGive(name, "admin"), false);
  }
  for (const verb of permissions.filter((text) => text.endsWith(":read")))
    assert.ok(allows(of("viewer"), verb, []), verb);
  for (const verb of ["applications:deploy", "identity:tokens", "work:edit"])
    assert.ok(!allows(of("viewer"), verb, []));
});

test.run();
