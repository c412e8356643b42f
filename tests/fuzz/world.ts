/** What the fuzzer works on: organisations, entities, tokens of every sort; and what it learns of while it goes on. */
import assert from "node:assert/strict";
import { ask } from "../harness/gateway.ts";
import type { Operation } from "./document.ts";
import type { World } from "./plan.ts";

const MOST = 200;
/** Of those learnt last, so that some are there that nothing has been done to yet. */
const NEWEST = 8;

/** What the path of something names, by parameter: its organisation, its id, and a part of it. */
type Place = Readonly<Record<string, string>>;

/** Places of one sort: those made at the start, and the newest of those learnt. */
class Pool {
  readonly #fixed: Place[] = [];
  readonly #learnt: Place[] = [];
  #next = 0;
  keep(place: Place): void {
    this.#fixed.push(place);
  }
  learn(place: Place): void {
    this.#learnt[this.#next++ % MOST] = place;
  }
  pick(n: number): Place {
    const nth = n >> 2;
    if (n % 2 === 0 || this.#learnt.length === 0) return this.#fixed[nth % this.#fixed.length]!;
    if (n % 4 === 1) return this.#learnt[nth % this.#learnt.length]!;
    const back = 1 + (nth % Math.min(NEWEST, this.#learnt.length));
    return this.#learnt[(this.#next - back) % MOST]!;
  }
}

const COLLECTIONS: Readonly<Record<string, string>> = {
  "work-items": "itm",
  "work-types": "wty",
  tokens: "tok",
  secrets: "sec",
  members: "usr",
  invitations: "inv",
  roles: "rol",
  applications: "app",
  deployments: "dep",
  uploads: "upl",
  schedules: "sch",
  rules: "rul",
  processes: "prc",
  webhooks: "whk",
  channels: "chn",
  subscribers: "sub",
  alerts: "alr",
  devices: "dev",
  "device-tasks": "tsk",
  "device-profiles": "prf",
  "device-groups": "grp",
  "device-bulks": "blk",
  "firmware-rollouts": "rlo",
  "device-scans": "scn",
  "device-syncs": "syn",
  repositories: "rep",
  builds: "bld",
  nodes: "node",
  "dead-letters": "dlq",
};

const SORTS = new Set(Object.values(COLLECTIONS));
/** Parameter, and where an item tells of it. */
const PARTS_OF_ITEMS = [
  ["line", "checklist"],
  ["comment", "comments"],
  ["attachment", "attachments"],
] as const;
const PARTS = [...PARTS_OF_ITEMS.map(([part]) => part), "link"];

const OCTETS = { "content-type": "application/octet-stream" };

export class FuzzedWorld implements World {
  readonly #pools = new Map<string, Pool>();
  readonly #positions: string[] = [];
  #next = 0;
  readonly tokens: string[] = [];
  /** Tokens of an owner in each organisation. */
  readonly members: string[] = [];
  /** Id of the first organisation: its name may have been changed. */
  home = "";

  #pool(name: string): Pool {
    const pool = this.#pools.get(name) ?? new Pool();
    this.#pools.set(name, pool);
    return pool;
  }

  #poolOf({ id, path }: Operation): Pool {
    // What is archived takes no commands any more, so it is archived where nobody else works.
    if (id === "identity.archiveOrganisation") return this.#pool("spare");
    const part = PARTS.find((name) => path.includes(`{${name}}`));
    const collection = /\/([a-z-]+)\/\{id\}/.exec(path)?.[1];
    return this.#pool(part ?? (collection === undefined ? "org" : COLLECTIONS[collection]!));
  }

  place(operation: Operation, n: number): Place {
    return this.#poolOf(operation).pick(n);
  }

  known(operation: Operation, parameter: string, n: number): string {
    const isAny = parameter === "org" && operation.id !== "identity.archiveOrganisation";
    return (isAny ? this.#pool("org") : this.#poolOf(operation)).pick(n)[parameter]!;
  }

  position(n: number): string {
    return this.#positions[n % this.#positions.length] ?? "MTs";
  }

  /** Takes note of what an answer tells of. */
  learn(body: unknown, position: string | undefined): void {
    if (position !== undefined) this.#positions[this.#next++ % MOST] = position;
    const { id, organisation: org, ...more } = (body ?? {}) as Record<string, unknown>;
    if (typeof id !== "string" || typeof org !== "string") return;
    const sort = id.slice(0, id.indexOf("_"));
    if (SORTS.has(sort)) this.#pool(sort).learn({ org, id });
    for (const [part, list] of PARTS_OF_ITEMS) {
      const last = (more[list] as ReadonlyArray<{ readonly id: string }> | undefined)?.at(-1);
      if (sort === "itm" && last !== undefined) this.#pool(part).learn({ org, id, [part]: last.id });
    }
  }

  /** @param url of the gateway. @param owner the owner's token */
  static async make(url: string, owner: string): Promise<FuzzedWorld> {
    const world = new FuzzedWorld();
    const call = async (method: string, path: string, body?: unknown) => {
      const answer = await ask(url, method, path, {
        token: owner,
        ...(body === undefined ? {} : { body }),
        headers: { "if-match": "*", ...(body instanceof Uint8Array ? OCTETS : {}) },
      });
      assert.ok(answer.status < 300, `${method} ${path}: ${answer.status} ${answer.text}`);
      world.learn(undefined, answer.headers.get("millrace-position") ?? undefined);
      return answer.body;
    };
    const post = (path: string, body: unknown) => call("POST", path, body);
    const home = (await call("GET", "/v1/organisations/home")).id as string;
    const other = (await post("/v1/organisations", { name: "other" })).id as string;
    world.home = home;
    for (const org of [home, home, "home", other]) world.#pool("org").keep({ org });
    for (let i = 0; i < 6; i++)
      world.#pool("spare").keep({ org: (await post("/v1/organisations", { name: `spare-${i}` })).id });
    world.#pool("dlq").keep({ org: home, id: "0000000000000000" });
    // Made by workers, of whom there is none here.
    for (const prefix of ["upl", "prc"])
      world.#pool(prefix).keep({ org: home, id: `${prefix}_00000000000000000000000000` });
    world.#pool("node").keep({ org: home, id: "local" });
    const change = (path: string, body: unknown) => call("PATCH", path, body);
    for (const org of [home, other]) await world.#fill(post, change, org);
    await world.#makeTokens(call, home, other, owner);
    await world.#settled(url, owner, home);
    return world;
  }

  async #fill(
    post: (path: string, body: unknown) => Promise<any>,
    change: (path: string, body: unknown) => Promise<unknown>,
    org: string,
  ): Promise<void> {
    const under = `/v1/organisations/${org}`;
    const keep = (sort: string, id: string, part: Place = {}) => this.#pool(sort).keep({ org, id, ...part });
    for (let i = 0; i < 6; i++) {
      const item = await post(`${under}/work-items`, {
        type: "task",
        title: `Item ${i}`,
        labels: ["a"],
        assignees: ["ada"],
      });
      keep("itm", item.id);
      if (i > 1) continue;
      const { checklist } = await post(`${under}/work-items/${item.id}/checklist`, { text: "A line" });
      for (const { id } of checklist) keep("line", item.id, { line: id });
      const { comments } = await post(`${under}/work-items/${item.id}/comments`, { text: "A comment" });
      for (const { id } of comments) keep("comment", item.id, { comment: id });
      for (let n = 0; n < 4; n++) {
        const file = new TextEncoder().encode(`File ${n}`);
        const { attachments } = await post(`${under}/work-items/${item.id}/attachments?name=file-${n}.txt`, file);
        keep("attachment", item.id, { attachment: attachments.at(-1).id });
      }
    }
    const states = [
      { name: "todo", title: "To do", group: "unstarted" },
      { name: "done", title: "Done", group: "completed" },
    ];
    const type = { title: "Own", states, initial: "todo", transitions: [{ from: "todo", to: "done" }] };
    for (const name of ["own", "task"]) keep("wty", (await post(`${under}/work-types`, { name, ...type })).id);
    keep("wty", "incident");
    const source = { kind: "git", url: "https://git.example.org/site.git" };
    for (let i = 0; i < 8; i++) {
      const build =
        i % 2 === 0 ? { build: { kind: "static" } } : { build: { kind: "dockerfile" }, runtime: { port: 80 } };
      const app = await post(`${under}/applications`, { name: `app-${i}`, source, ...build });
      keep("app", app.id);
      const { url } = await post(`${under}/applications/${app.id}/logs/share`, { expiresInMs: 86_400_000 });
      keep("link", app.id, { link: url.split("/").at(-1) });
      if (i > 3) keep("dep", (await post(`${under}/applications/${app.id}/deploy`, {})).id);
    }
    for (let i = 0; i < 4; i++) {
      const mac = `A8032AB6360${i}`;
      const { id: dev } = await post(`${under}/devices`, { mac, name: `d-${i}`, tags: ["a"] });
      keep("dev", dev);
      const configuration = { "switch:0": { auto_off: true } };
      if (i > 1) await change(`${under}/devices/${dev}/configuration`, { configuration });
      keep("prf", (await post(`${under}/device-profiles`, { name: `p-${i}`, configuration })).id);
      keep("grp", (await post(`${under}/device-groups`, { name: `g-${i}` })).id);
      keep("tsk", (await post(`${under}/devices/${dev}/read`, {})).id);
      const select = { ids: [dev] };
      keep("blk", (await post(`${under}/devices/bulk`, { select, action: { kind: "reboot" } })).id);
      keep("rlo", (await post(`${under}/firmware-rollouts`, { select, name: `ro-${i}` })).id);
      keep("scn", (await post(`${under}/device-scans`, { ranges: ["10.0.0.1"] })).id);
      const repository = { url: "https://git.example.org/a.git" };
      keep("syn", (await post(`${under}/device-syncs`, { name: `sy-${i}`, repository })).id);
      keep("rep", (await post(`${under}/repositories`, { name: `re-${i}` })).id);
      keep("bld", (await post(`${under}/builds`, { repository: `re-${i}` })).id);
      const when = { kind: "interval", everyMs: 3_600_000 };
      const commands = [{ action: "work.openItem", body: { type: "task", title: "Look" } }];
      keep("sch", (await post(`${under}/schedules`, { name: `s-${i}`, when, commands })).id);
      const opened = { kind: "event", context: "work", types: ["ItemOpened"] };
      keep("rul", (await post(`${under}/rules`, { name: `r-${i}`, when: opened, commands })).id);
      // Nothing is sent there: no event is of this type.
      const events = { type: ["NeverHappens"] };
      const url = `https://hooks.example.com/${i}`;
      keep("whk", (await post(`${under}/webhooks`, { name: `w-${i}`, url, events })).id);
      keep("chn", (await post(`${under}/channels`, { name: `c-${i}`, url: `ntfy://c-${i}`, events })).id);
      keep("sub", (await post(`${under}/subscribers`, { name: `n-${i}`, events })).id);
      const alert = { on: { kind: "node", id: "local" }, metric: "load_1m", condition: { is: "above", value: 1 } };
      keep("alr", (await post(`${under}/alerts`, { name: `a-${i}`, ...alert })).id);
      keep("rol", (await post(`${under}/roles`, { name: `r-${i}`, grants: ["work:read"] })).id);
      const invite = { name: `m-${i}`, role: i === 0 ? "owner" : "viewer" };
      const { id, secret } = await post(`${under}/invitations`, invite);
      keep("inv", id);
      const { member, secret: token } = await post("/v1/invitations/accept", { secret });
      keep("usr", member.id);
      if (i === 0) this.members.push(token);
      keep("tok", (await post(`${under}/tokens`, { name: `t-${i}`, grants: ["work:read"] })).id);
      keep("sec", (await post(`${under}/secrets`, { name: `s-${i}`, value: `value ${i}` })).id);
    }
  }

  async #makeTokens(
    call: (method: string, path: string, body?: unknown) => Promise<any>,
    home: string,
    other: string,
    owner: string,
  ): Promise<void> {
    const token = (org: string, name: string, more: object) =>
      call("POST", `/v1/organisations/${org}/tokens`, { name, ...more });
    const revoked = await token(home, "revoked", { grants: ["*"] });
    await call("DELETE", `/v1/organisations/${home}/tokens/${revoked.id}`);
    const made = [
      await token(home, "viewer", { grants: ["work:read", "identity:read"] }),
      await token(other, "other", { grants: ["*"] }),
      await token(home, "narrow", { grants: [`work:*@${this.#pool("itm").pick(0).id}`] }),
      revoked,
    ];
    this.tokens.push(owner, ...this.members, ...made.map(({ secret }) => secret as string), "mrt_garbage", "");
  }

  /** Lists answer once the views have been built for the first time. */
  async #settled(url: string, owner: string, home: string): Promise<void> {
    const deadline = Date.now() + 60_000;
    const under = `/v1/organisations/${home}`;
    const lists = [
      "work-items",
      "work-types",
      "tokens",
      "secrets",
      "applications",
      "deployments",
      "schedules",
      "rules",
      "webhooks",
      "channels",
      "subscribers",
      "alerts",
      ...[
        "devices",
        "device-tasks",
        "device-profiles",
        "device-groups",
        "device-bulks",
        "firmware-rollouts",
        "device-scans",
        "device-syncs",
        "repositories",
        "builds",
      ],
    ];
    for (const path of [...lists, "history", "search?q=item"].map((name) => `${under}/${name}`)) {
      for (;;) {
        const { status, text } = await ask(url, "GET", path, {
          token: owner,
          headers: { "millrace-position": this.position(this.#next - 1) },
        });
        if (status === 200) break;
        assert.ok(status === 503 && Date.now() < deadline, `${path}: ${status} ${text}`);
        await new Promise((resolve) => setTimeout(resolve, 100));
      }
    }
  }
}
