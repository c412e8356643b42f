/** A request as the fuzzer thinks of it: an operation, what it takes, and what is twisted in it; and how that becomes bytes. */
import { gzipSync } from "node:zlib";
import * as fc from "fast-check";
import { OPERATIONS, type Operation, whyNot } from "./document.ts";
import { copyOf, hostileJson, hostileText, print, Verbatim, validOf } from "./values.ts";
import type { Sent } from "./wire.ts";

/** A place in a path or header: something that is there, the nth of its kind, or a text. */
type Place = { readonly known: number } | { readonly text: string };

/** One thing that is done to a request before it is sent. `at` and `to` are taken modulo what there is. */
interface Twist {
  readonly what:
    | "value"
    | "extra"
    | "missing"
    | "path"
    | "raw-path"
    | "query"
    | "header"
    | "method"
    | "bytes"
    | "frame";
  readonly at: number;
  readonly to: number;
  readonly text: string;
  readonly json: unknown;
}

export interface Plan {
  readonly operation: Operation;
  readonly path: Readonly<Record<string, Place>>;
  /** The nth place that is there as a whole, instead of parts that may not belong together. */
  readonly whole: number | undefined;
  readonly query: Readonly<Record<string, unknown>>;
  readonly headers: Readonly<Record<string, unknown>>;
  readonly body: unknown;
  readonly who: number;
  readonly twists: ReadonlyArray<Twist>;
}

/** What is there to be named, and who may ask. */
export interface World {
  /** What a path names, by parameter. */
  readonly place: (operation: Operation, n: number) => Readonly<Record<string, string>>;
  readonly known: (operation: Operation, parameter: string, n: number) => string;
  readonly position: (n: number) => string;
  /** Bearer tokens; the first may do everything. */
  readonly tokens: ReadonlyArray<string>;
}

export interface Request extends Sent {
  /** The operation it reaches, when that is certain. */
  readonly operation: Operation | undefined;
  /** Why it may not succeed, when that is certain. */
  readonly wrong: string | undefined;
  /** Only some fields were asked for. */
  readonly sparse: boolean;
  /** The other side may end the connection instead of an answer: it was told more than it reads. */
  readonly mayBeCut: boolean;
}

const place = fc.oneof(
  { weight: 12, arbitrary: fc.record({ known: fc.nat(1_000) }) },
  {
    weight: 1,
    arbitrary: fc.record({ text: fc.constantFrom("home", "task", "a", "itm_00000000000000000000000000", "owner") }),
  },
);

const twist: fc.Arbitrary<Twist> = fc.record({
  what: fc.oneof(
    { weight: 8, arbitrary: fc.constantFrom<Twist["what"]>("value") },
    { weight: 2, arbitrary: fc.constantFrom<Twist["what"]>("extra", "missing", "path", "query", "header") },
    { weight: 1, arbitrary: fc.constantFrom<Twist["what"]>("raw-path", "method", "bytes", "frame") },
  ),
  at: fc.nat(60),
  to: fc.nat(1_000),
  text: hostileText,
  json: hostileJson,
});

const twists = fc.oneof(
  { weight: 6, arbitrary: fc.constant([]) },
  { weight: 5, arbitrary: fc.array(twist, { minLength: 1, maxLength: 3 }) },
);

const states = [
  { name: "todo", title: "To do", group: "unstarted" },
  { name: "done", title: "Done", group: "completed" },
];
const newName = fc.nat(1_000_000).map((n) => `n-${n}`);

const HOURLY = { kind: "interval", everyMs: 3_600_000 };
const OPENED = { kind: "event", context: "work", types: ["ItemOpened"] };
/** Nothing is sent. */
const NEVER = { type: ["NeverHappens"] };
const LOADED = { on: { kind: "node", id: "local" }, metric: "load_1m", condition: { is: "above", value: 1 } };
const OPENING = { action: "work.openItem", body: { type: "task", title: "Look" } };

/** Bodies that the schema alone does not lead to: their parts must fit each other, or what is there. */
const GOOD: Readonly<Record<string, fc.Arbitrary<unknown>>> = {
  "work.defineType": newName.map((name) => ({
    name,
    title: name,
    states,
    initial: "todo",
    transitions: [{ from: "todo", to: "done" }],
  })),
  "work.changeType": fc.constantFrom(
    { title: "Other" },
    { states, initial: "todo", transitions: [{ from: "todo", to: "done" }] },
    { notesTemplate: "What for?" },
  ),
  "work.transitionItem": fc.constantFrom({ to: "in-progress" }, { to: "todo" }),
  "applications.createApplication": fc.tuple(newName, fc.boolean()).map(([name, box]) => ({
    name,
    source: { kind: "git", url: "https://git.example.org/site.git" },
    ...(box ? { build: { kind: "dockerfile" }, runtime: { port: 80 } } : { build: { kind: "static" } }),
  })),
  "applications.changeApplication": fc.constantFrom(
    { title: "Other" },
    { source: { kind: "path", path: "/srv/git/site.git", ref: "next" }, policy: { keepReleases: 3 } },
    { domains: [] },
  ),
  "applications.scaleApplication": fc.constantFrom({ instances: 1 }, { instances: 3 }),
  "applications.deployApplication": fc.constantFrom({}, { ref: "next" }),
  "members.invite": newName.map((name) => ({ name, role: "viewer" })),
  "members.defineRole": newName.map((name) => ({ name, grants: ["work:read"] })),
  "members.giveRole": fc.constantFrom({ role: "viewer" }, { role: "developer", at: "work" }),
  "members.takeRole": fc.constantFrom({ role: "viewer" }, { role: "developer", at: "work" }),
  "members.giveRoleToToken": fc.constantFrom({ role: "viewer" }, { role: "developer", at: "work" }),
  "members.takeRoleFromToken": fc.constantFrom({ role: "viewer" }, { role: "developer", at: "work" }),
  "work.linkItem": fc.constantFrom("app-1", "app-2").map((id) => ({ links: [{ kind: "application", id }] })),
  "work.unlinkItem": fc.constantFrom("app-1", "app-2").map((id) => ({ links: [{ kind: "application", id }] })),
  "automation.createSchedule": newName.map((name) => ({ name, when: HOURLY, commands: [OPENING] })),
  "automation.changeSchedule": fc.constantFrom(
    { title: "Other" },
    { when: { kind: "cron", expression: "0 3 * * 1", timeZone: "Europe/Berlin" } },
    { when: HOURLY, jitterMs: 1_000 },
  ),
  "rules.createRule": newName.map((name) => ({
    name,
    when: OPENED,
    condition: 'event.data.type == "task"',
    commands: [OPENING],
  })),
  "rules.changeRule": fc.constantFrom({ title: "Other" }, { condition: "true" }, { commands: [OPENING] }),
  "webhooks.createWebhook": newName.map((name) => ({ name, url: "https://hooks.example.com/x", events: NEVER })),
  "channels.createChannel": newName.map((name) => ({ name, url: "ntfy://never", events: NEVER })),
  "channels.changeChannel": fc.constantFrom({ description: "Other" }, { events: NEVER }),
  "channels.resumeChannel": fc.constantFrom({}, { skip: true }),
  "channels.replayChannel": fc.constantFrom({}, { time: "2026-01-01T00:00:00.000Z" }),
  "alerts.createAlert": newName.map((name) => ({ name, ...LOADED })),
  "alerts.changeAlert": fc.constantFrom({ forMs: 60_000 }, { condition: { is: "below", value: 2 } }),
  "alerts.silenceAlert": fc.constant({ until: "2099-01-01T00:00:00Z", reason: "Known" }),
  "subscribers.createSubscriber": newName.map((name) => ({ name, events: NEVER })),
  "devices.addDevice": fc.nat(0xffffff).map((n) => ({ mac: `A8032A${n.toString(16).toUpperCase().padStart(6, "0")}` })),
  "devices.changeDevice": fc.constantFrom(
    { title: "Other" },
    { tags: ["a", "b"] },
    { expected: false, pollMs: 60_000 },
  ),
  "devices.configureDevice": fc.constantFrom(
    { configuration: { "switch:0": { name: "Lamp" }, sys: { device: { eco_mode: true } } } },
    { values: { room: "Hall" } },
  ),
  "devices.storeCredentials": fc.constantFrom({ password: null }, { password: "x", gen: 2, realm: "shelly-1" }),
  "devices.setAuthentication": fc.constant({ password: null }),
  "devices.updateFirmware": fc.constantFrom({}, { stage: "beta" }, { url: "http://10.0.0.1/fw.zip" }),
  "deviceSets.createDeviceProfile": newName.map((name) => ({
    name,
    configuration: { "switch:*": { auto_off: true } },
  })),
  "deviceSets.changeDeviceProfile": fc.constantFrom({ title: "Other" }, { configuration: { sys: {} } }),
  "deviceSets.createDeviceGroup": newName.map((name) => ({ name, selection: { tag: "a" } })),
  "deviceSets.changeDeviceGroup": fc.constantFrom({ title: "Other" }, { selection: null }, { pollMs: 60_000 }),
  "deviceOperations.startBulk": fc.constantFrom(
    { select: { where: { tag: "a" } }, action: { kind: "apply" } },
    { select: { where: { tag: "a" } }, action: { kind: "configure", addTags: ["b"], forget: ["sys/device"] } },
    { select: { ids: ["d-1"] }, action: { kind: "action", component: "switch:0", action: "on" } },
  ),
  "deviceOperations.startRollout": newName.map((name) => ({ name, select: { where: { tag: "a" } } })),
  "deviceScans.startScan": fc.constantFrom({}, { ranges: ["10.0.0.0/30", "10.1.0.1-10.1.0.9:8080"] }),
  "deviceScans.importFindings": fc.constant({}),
  "deviceExports.importDevices": fc.constantFrom({ files: {} }, { files: { "a.toml": "[device]\nmac = 7\n" } }, {}),
  "deviceSyncs.createSync": newName.map((name) => ({ name, repository: { url: "https://git.example.org/a.git" } })),
  "deviceSyncs.changeSync": fc.constantFrom({ title: "Other" }, { select: null }, { direction: "both" }),
  "deviceSyncs.approveSync": fc.constant({ commit: "0".repeat(40) }),
  "repositories.createRepository": fc
    .tuple(newName, fc.option(fc.constant("org.example.Stable"), { nil: undefined }))
    .map(([name, collectionId]) => ({ name, ...(collectionId === undefined ? {} : { collectionId }) })),
  "repositories.changeRepository": fc.constantFrom(
    { title: "Other" },
    { title: null, visibility: "private" },
    { retention: { depth: 1, snapshots: 0, everyHours: 1, graceHours: 0 } },
  ),
  "repositories.rotateRepositoryKey": fc.constantFrom({}, { overlapDays: 0 }, { secretKey: "no key ".repeat(20) }),
  "builds.createBuild": fc
    .constantFrom("re-1", "re-2")
    .map((repository) => ({ repository, appId: "org.example.Hello" })),
  "builds.changeBuild": fc.constantFrom({ priority: 5 }, { logUrl: null }, { publicDownload: true }),
  "builds.declareRefs": fc.constant({ refs: [{ ref: "app/org.example.Hello/x86_64/stable", commit: "0".repeat(64) }] }),
  "builds.rollBackToBuild": fc.constantFrom({}, { hold: "Broken" }),
  "builds.promoteBuild": fc.constantFrom("re-1", "re-2").map((repository) => ({ repository })),
  "builds.unpublishBuild": fc.constant({}),
  "builds.missingObjects": fc.constant({ wanted: [`${"0".repeat(64)}.filez`] }),
  "builds.addExtraIds": fc.constant({ ids: ["org.example.Extra"] }),
  "builds.commitBuild": fc.constantFrom({}, { endOfLife: "Over", endOfLifeRebase: "org.example.Next" }),
  "webhooks.changeWebhook": fc.constantFrom({ description: "Other" }, { events: NEVER }),
  "webhooks.resumeWebhook": fc.constantFrom({}, { skip: true }),
  "webhooks.rotateWebhookSecret": fc.constantFrom({}, { overlapHours: 1 }),
  "webhooks.replayWebhook": fc.constantFrom({}, { time: "2026-01-01T00:00:00.000Z" }),
  "identity.createOrganisation": newName.map((name) => ({ name })),
  "identity.createToken": newName.map((name) => ({ name, grants: ["work:read"] })),
};

/** Headers whose form the document tells in words. */
const HEADER: Readonly<Record<string, fc.Arbitrary<unknown>>> = {
  range: fc.constantFrom("bytes=0-", "bytes=0-3", "bytes=-2", "bytes=9999-"),
  "if-range": fc.constantFrom('"x"', "*"),
  "if-none-match": fc.constantFrom('"x"', "*", '"x", W/"y"'),
};

/** What these lead to is no JSON, and does not end: it has tests of its own. */
const STREAMS = new Set(["follow", "download"]);

function planOf(operation: Operation): fc.Arbitrary<Plan> {
  const of = (where: string, make: (name: string) => fc.Arbitrary<unknown>) => {
    const parameters = operation.parameters.filter((one) => one.in === where && !STREAMS.has(one.name));
    return fc.record(Object.fromEntries(parameters.map(({ name }) => [name, make(name)])), {
      requiredKeys: parameters.filter(({ required }) => required).map(({ name }) => name),
      noNullPrototype: true,
    });
  };
  const byName = new Map(operation.parameters.map(({ name, schema }) => [name, validOf(schema)]));
  return fc.record({
    operation: fc.constant(operation),
    path: of("path", (name) => (name === "name" ? byName.get(name)!.map((text) => ({ text: String(text) })) : place)),
    whole: fc.oneof({ weight: 3, arbitrary: fc.nat(1_000) }, { weight: 1, arbitrary: fc.constant(undefined) }),
    query: fc
      .tuple(
        of("query", (name) => (name === "applications" ? fc.constantFrom("app-1", "app-1,app-2") : byName.get(name)!)),
        fc.infiniteStream(fc.nat(3)),
      )
      .map(([query, chance]) => {
        // A few of them at a time: with all of them hardly anything would be found.
        const needed = new Set(operation.parameters.filter(({ required }) => required).map(({ name }) => name));
        const asked = Object.fromEntries(
          Object.entries(query).filter(([name]) => needed.has(name) || chance.next().value === 0),
        );
        // Nobody is there to bring about what is waited for.
        return "wait" in asked ? { ...asked, timeout: Number(query.timeout ?? 0) % 10 } : asked;
      }),
    headers: of("header", (name) =>
      name === "idempotency-key"
        ? fc.oneof({ weight: 6, arbitrary: fc.uuid() }, { weight: 1, arbitrary: byName.get(name)! })
        : name === "if-match"
          ? fc.constantFrom("*", "*", "*", "*", '"1"', '"2"', '"999999999999999"')
          : name === "millrace-position"
            ? fc.record({ known: fc.nat(1_000) })
            : fc.oneof({ weight: 3, arbitrary: HEADER[name] ?? byName.get(name)! }, byName.get(name)!),
    ),
    body:
      operation.body === undefined
        ? fc.constant(undefined)
        : fc.oneof(
            { weight: 2, arbitrary: validOf(operation.body) },
            { weight: 2, arbitrary: GOOD[operation.id] ?? validOf(operation.body) },
          ),
    who: fc.oneof({ weight: 14, arbitrary: fc.constant(0) }, { weight: 1, arbitrary: fc.nat(20) }),
    twists,
  }) as fc.Arbitrary<Plan>;
}

/** Rebuilding is heavy, and what is deleted answers 404 from then on. */
const weightOf = ({ id, method }: Operation): number =>
  /rebuild|archive|createOrganisation/.test(id)
    ? 1
    : method === "DELETE"
      ? 10
      : /open|create|define|store/.test(id)
        ? 40
        : 20;

export const anyPlan: fc.Arbitrary<Plan> = fc.oneof(
  ...OPERATIONS.map((operation) => ({ weight: weightOf(operation), arbitrary: planOf(operation) })),
);

/** One operation as it is meant: nothing twisted, by who may do all, about something that is there, however it is by now. */
export const plainPlan = (operation: Operation): fc.Arbitrary<Plan> =>
  fc.tuple(planOf(operation), fc.nat(1_000)).map(([plan, whole]) => ({
    ...plan,
    headers: "if-match" in plan.headers ? { ...plan.headers, "if-match": "*" } : plan.headers,
    whole,
    who: 0,
    twists: [],
  }));

/** What makes that which an operation is about: where everything there has tasks or was removed, a new one is needed. */
export const makerOf = ({ path }: Operation): Operation | undefined => {
  const collection = /^.*\/[a-z-]+(?=\/\{[a-z]+\})/i.exec(path)?.[0];
  return OPERATIONS.find((one) => one.method === "POST" && one.path === collection);
};

const METHODS = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "PROPFIND", "QUERY", "get"];

/** Headers that mean something to somebody on the way. */
const HEADERS: ReadonlyArray<readonly [string, ReadonlyArray<string>]> = [
  ["If-Match", ['"0"', '"-1"', 'W/"1"', '"1", "2"', "1", '"99999999999999999999"', '"1e3"']],
  ["If-None-Match", ["*", '"1"', "x"]],
  ["Idempotency-Key", ["k1", '"k1"', "k2", "a b", "\u00e9", '"', '""']],
  ["Millrace-Position", ["", "x", "AAAA", Buffer.from("1;work:1.0,identity:1").toString("base64url")]],
  [
    "Content-Type",
    [
      "text/plain",
      "application/json; charset=latin1",
      "application/x-www-form-urlencoded",
      "multipart/form-data; boundary=x",
      "application/JSON ; charset=UTF-8",
      "",
    ],
  ],
  ["Content-Encoding", ["gzip", "br", "identity", "deflate, gzip", "x"]],
  [
    "Authorization",
    ["", "Bearer", "Bearer ", "Basic eDp5", "Bearer x y", "bearer mrt_0", `Bearer ${"x".repeat(5_000)}`],
  ],
  ["Accept", ["text/html", "*/*;q=0", "application/xml"]],
  ["Accept-Encoding", ["gzip", "identity;q=0"]],
  ["Range", ["bytes=0-1", "bytes=-1"]],
  ["X-Request-Id", ["a b", "x".repeat(200), "\u00e9", "../x"]],
  ["X-HTTP-Method-Override", ["DELETE"]],
  ["X-Forwarded-For", ["127.0.0.1"]],
  ["Host", ["evil.example", "a:b:c", "[::1"]],
  ["Origin", ["null", "https://evil.example"]],
  ["Cookie", ["a=b; c"]],
  ["traceparent", ["00-0-0-00", "00-00000000000000000000000000000000-0000000000000000-00", "x".repeat(600)]],
  ["Expect", ["100-continue", "200-ok"]],
  ["Upgrade", ["h2c", "websocket"]],
  ["Connection", ["close", "keep-alive, Authorization"]],
  ["TE", ["trailers"]],
  ["Trailer", ["Authorization"]],
];

interface Draft {
  method: string;
  path: Record<string, string>;
  rawPath: string | undefined;
  query: [string, string][];
  headers: [string, string][];
  body: unknown;
  bytes: Buffer | undefined;
  chunked: boolean;
  wrong: string | undefined;
}

/** Percent-encoded as a client would, half surrogates as their three bytes. */
const encoded = (text: string): string =>
  [...text]
    .map((char) =>
      char.isWellFormed()
        ? encodeURIComponent(char)
        : [
            ...Buffer.from([
              0xe0 | (char.charCodeAt(0) >> 12),
              0x80 | ((char.charCodeAt(0) >> 6) & 63),
              0x80 | (char.charCodeAt(0) & 63),
            ]),
          ]
            .map((byte) => `%${byte.toString(16)}`)
            .join(""),
    )
    .join("");

/** Every object and list in a JSON value, with the way to each of its members. */
function* members(value: unknown): Generator<[holder: Record<string, unknown>, name: string]> {
  if (typeof value !== "object" || value === null || value instanceof Verbatim) return;
  for (const name of Object.keys(value)) {
    yield [value as Record<string, unknown>, name];
    yield* members((value as Record<string, unknown>)[name]);
  }
}

const JUNK: ReadonlyArray<(body: Buffer) => Buffer> = [
  (body) => body.subarray(0, Math.floor(body.length / 2)),
  (body) => Buffer.concat([body, body]),
  (body) => Buffer.concat([Buffer.from("\ufeff"), body]),
  (body) => Buffer.from(body.toString(), "utf16le"),
  (body) => gzipSync(body),
  (body) => Buffer.concat([body.subarray(0, -1), Buffer.from([0xff, 0xfe, 0x80])]),
  () => Buffer.alloc(0),
  () => Buffer.from("\0"),
];

const HEAVY: typeof JUNK = [
  (body) => Buffer.concat([body, Buffer.alloc(1_000_000, " ")]),
  (body) => Buffer.concat([body, Buffer.alloc(1_100_000, " ")]),
  () => Buffer.from("[".repeat(100_000)),
  () => Buffer.from(`{"a":"${"x".repeat(1_000_000)}"}`),
];

const TWISTS: Record<Twist["what"], (draft: Draft, twist: Twist) => void> = {
  value(draft, { at, json }) {
    const all = [...members({ body: draft.body })];
    if (draft.body === undefined) return;
    const [holder, name] = all[at % all.length]!;
    if (name === "body" && holder.body === draft.body) draft.body = copyOf(json);
    else holder[name] = copyOf(json);
  },
  extra(draft, { at, text, json }) {
    const holders = [draft.body, ...[...members(draft.body)].map(([holder, name]) => holder[name])].filter(
      (value) => typeof value === "object" && value !== null && !Array.isArray(value) && !(value instanceof Verbatim),
    );
    const holder = holders[at % holders.length] as Record<string, unknown> | undefined;
    if (holder !== undefined)
      Object.defineProperty(holder, text, {
        value: copyOf(json),
        enumerable: true,
        configurable: true,
        writable: true,
      });
  },
  missing(draft, { at }) {
    const all = [...members(draft.body)];
    const [holder, name] = all[at % all.length] ?? [];
    if (holder !== undefined && !Array.isArray(holder)) delete holder[name!];
  },
  path(draft, { at, text }) {
    const names = Object.keys(draft.path);
    if (names.length > 0) draft.path[names[at % names.length]!] = encoded(text);
  },
  "raw-path"(draft, { at, text }) {
    const raw = text.replaceAll(/[\r\n]/g, " ");
    draft.rawPath = [
      `/v1/${raw}`,
      `/${raw}`,
      raw,
      `/v1/organisations/home/${raw}/x`,
      `//${raw}`,
      `/v1/organisations/%2${raw}`,
    ][at % 6]!;
  },
  query(draft, { at, to, text }) {
    const value = encoded(text);
    const known = draft.query[at % (draft.query.length || 1)];
    if (to % 3 === 0 || known === undefined) {
      draft.query.push([`x${encoded(text)}`, value]);
      draft.wrong ??= "a query parameter that is not known";
    } else if (to % 3 === 1) known[1] = value;
    else draft.query.push([known[0], value]);
  },
  header(draft, { at, to, text }) {
    const [name, values] = HEADERS[at % HEADERS.length]!;
    const value = values[to % (values.length + 1)] ?? text.replaceAll(/[\r\n]/g, " ");
    draft.headers = draft.headers.filter(([known]) => known.toLowerCase() !== name.toLowerCase());
    draft.headers.push([name, value]);
  },
  method(draft, { at }) {
    draft.method = METHODS[at % METHODS.length]!;
  },
  bytes(draft, { at, to }) {
    // Megabytes take long to make and to read: a few of them do.
    const junk = to % 10 === 0 ? HEAVY : JUNK;
    draft.bytes = junk[at % junk.length]!(Buffer.from(print(draft.body ?? {})));
  },
  frame(draft) {
    draft.chunked = true;
  },
};

/** @returns why the body may not be taken by the document, when it may not */
function whyNotBody(operation: Operation, bytes: Buffer): string | undefined {
  if (operation.body === undefined) return undefined;
  let value: unknown;
  try {
    value = JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(bytes));
  } catch {
    return "the body is no JSON";
  }
  return whyNot(value, operation.body, "/body");
}

function chunked(bytes: Buffer): Buffer {
  const half = Math.ceil(bytes.length / 2);
  const parts = [bytes.subarray(0, half), bytes.subarray(half)].filter(({ length }) => length > 0);
  return Buffer.concat([
    ...parts.flatMap((part) => [Buffer.from(`${part.length.toString(16)}\r\n`), part, Buffer.from("\r\n")]),
    Buffer.from("0\r\n\r\n"),
  ]);
}

function draftOf(plan: Plan, world: World): Draft {
  const { operation } = plan;
  const whole = plan.whole === undefined ? {} : world.place(operation, plan.whole);
  const textOf = (name: string, value: Place): string =>
    "known" in value ? (whole[name] ?? world.known(operation, name, value.known)) : encoded(value.text);
  const headers = Object.entries(plan.headers).map(([name, value]): [string, string] => [
    name,
    typeof value === "object" ? world.position((value as { known: number }).known) : String(value),
  ]);
  const token = world.tokens[plan.who % world.tokens.length]!;
  return {
    method: operation.method,
    path: Object.fromEntries(Object.entries(plan.path).map(([name, value]) => [name, textOf(name, value)])),
    rawPath: undefined,
    query: Object.entries(plan.query).map(([name, value]) => [name, encoded(String(value))]),
    headers: [
      ["Host", "gateway"],
      ["Authorization", `Bearer ${token}`],
      ["Content-Type", "application/json"],
      ...headers,
    ],
    body: copyOf(plan.body),
    bytes: undefined,
    chunked: false,
    wrong: undefined,
  };
}

/** The request as it goes over the wire. */
export function requestOf(plan: Plan, world: World): Request {
  const draft = draftOf(plan, world);
  for (const twist of plan.twists) TWISTS[twist.what](draft, twist);
  const { operation } = plan;
  const path = draft.rawPath ?? operation.path.replaceAll(/\{([a-zA-Z]+)\}/g, (_, name) => draft.path[name] ?? "");
  const query = draft.query.length === 0 ? "" : `?${draft.query.map(([name, value]) => `${name}=${value}`).join("&")}`;
  const hasBody = draft.body !== undefined || draft.bytes !== undefined;
  const body = draft.bytes ?? Buffer.from(draft.body === undefined ? "" : print(draft.body));
  const headers = [...draft.headers];
  if (hasBody) headers.push(draft.chunked ? ["Transfer-Encoding", "chunked"] : ["Content-Length", String(body.length)]);
  const head = [
    `${draft.method} ${path}${query} HTTP/1.1`,
    ...headers.map(([name, value]) => `${name}: ${value}`),
    "",
    "",
  ].join("\r\n");
  // A path that was twisted may lead elsewhere.
  const reached =
    draft.rawPath === undefined && !plan.twists.some(({ what }) => what === "path")
      ? OPERATIONS.find(
          (one) => one.path === operation.path && one.method === (draft.method === "HEAD" ? "GET" : draft.method),
        )
      : undefined;
  const wrong =
    reached === undefined
      ? undefined
      : (draft.wrong ?? (reached === operation ? whyNotBody(operation, body) : undefined));
  return {
    bytes: Buffer.concat([
      Buffer.from(head, "latin1"),
      hasBody ? (draft.chunked ? chunked(body) : body) : Buffer.alloc(0),
    ]),
    bodiless: draft.method === "HEAD",
    operation: reached,
    wrong,
    sparse: draft.query.some(([name]) => name === "fields"),
    mayBeCut: body.length > 1_048_576,
  };
}
