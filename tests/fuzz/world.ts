/** What the fuzzer works on: organisations, entities, tokens of every sort; and what it learns of while it goes on. */
import assert from "node:assert/strict";
import { ask } from "../harness/gateway.ts";
import type { Operation } from "./document.ts";
import type { World } from "./plan.ts";

const MOST = 200;

/** Ids of one collection: those made at the start, and the newest of those learnt. */
class Pool {
  readonly #fixed: string[] = [];
  readonly #learnt: string[] = [];
  #next = 0;
  keep(id: string): void {
    this.#fixed.push(id);
  }
  learn(id: string): void {
    this.#learnt[this.#next++ % MOST] = id;
  }
  pick(n: number): string {
    const all = n % 2 === 0 || this.#learnt.length === 0 ? this.#fixed : this.#learnt;
    return all[(n >> 1) % all.length]!;
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

  known(operation: Operation, parameter: string, n: number): string {
    // What is archived takes no commands any more, so it is archived where nobody else works.
    if (parameter === "org")
      return this.#pool(operation.id === "identity.archiveOrganisation" ? "spare" : "org").pick(n);
    if (["line", "comment", "attachment", "link"].includes(parameter)) return this.#pool(parameter).pick(n);
    const collection = /\/([a-z-]+)\/\{id\}/.exec(operation.path)![1]!;
    const parts = /\{(line|comment|attachment)\}/.test(operation.path);
    return this.#pool(parts ? "itm with parts" : COLLECTIONS[collection]!).pick(n);
  }

  position(n: number): string {
    return this.#positions[n % this.#positions.length] ?? "MTs";
  }

  /** Takes note of what an answer tells of. */
  learn(body: unknown, position: string | undefined): void {
    if (position !== undefined) this.#positions[this.#next++ % MOST] = position;
    const id = (body as { id?: unknown } | undefined)?.id;
    if (
      typeof id === "string" &&
      /^(itm|wty|tok|sec|app|dep|usr|inv|rol|sch|rul|whk|chn|alr|dev|tsk|prf|grp|blk|rlo|scn|rep)_/.test(id)
    )
      this.#pool(id.slice(0, 3)).learn(id);
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
    for (const org of [home, home, "home", other]) world.#pool("org").keep(org);
    for (let i = 0; i < 6; i++) world.#pool("spare").keep((await post("/v1/organisations", { name: `spare-${i}` })).id);
    world.#pool("dlq").keep("0000000000000000");
    // Made by workers, of whom there is none here.
    for (const prefix of ["upl", "prc"]) world.#pool(prefix).keep(`${prefix}_00000000000000000000000000`);
    world.#pool("node").keep("local");
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
    for (let i = 0; i < 6; i++) {
      const item = await post(`${under}/work-items`, {
        type: "task",
        title: `Item ${i}`,
        labels: ["a"],
        assignees: ["ada"],
      });
      this.#pool("itm").keep(item.id);
      if (i > 1) continue;
      this.#pool("itm with parts").keep(item.id);
      const { checklist } = await post(`${under}/work-items/${item.id}/checklist`, { text: "A line" });
      for (const { id } of checklist) this.#pool("line").keep(id);
      const { comments } = await post(`${under}/work-items/${item.id}/comments`, { text: "A comment" });
      for (const { id } of comments) this.#pool("comment").keep(id);
      for (let n = 0; n < 4; n++) {
        const file = new TextEncoder().encode(`File ${n}`);
        const { attachments } = await post(`${under}/work-items/${item.id}/attachments?name=file-${n}.txt`, file);
        this.#pool("attachment").keep(attachments.at(-1).id);
      }
    }
    const states = [
      { name: "todo", title: "To do", group: "unstarted" },
      { name: "done", title: "Done", group: "completed" },
    ];
    const type = { title: "Own", states, initial: "todo", transitions: [{ from: "todo", to: "done" }] };
    for (const name of ["own", "task"])
      this.#pool("wty").keep((await post(`${under}/work-types`, { name, ...type })).id);
    this.#pool("wty").keep("incident");
    const source = { kind: "git", url: "https://git.example.org/site.git" };
    for (let i = 0; i < 8; i++) {
      const build =
        i % 2 === 0 ? { build: { kind: "static" } } : { build: { kind: "dockerfile" }, runtime: { port: 80 } };
      const app = await post(`${under}/applications`, { name: `app-${i}`, source, ...build });
      this.#pool("app").keep(app.id);
      const { url } = await post(`${under}/applications/${app.id}/logs/share`, { expiresInMs: 86_400_000 });
      this.#pool("link").keep(url.split("/").at(-1));
      if (i > 3) this.#pool("dep").keep((await post(`${under}/applications/${app.id}/deploy`, {})).id);
    }
    for (let i = 0; i < 4; i++) {
      const mac = `A8032AB6360${i}`;
      const { id: dev } = await post(`${under}/devices`, { mac, name: `d-${i}`, tags: ["a"] });
      this.#pool("dev").keep(dev);
      const configuration = { "switch:0": { auto_off: true } };
      if (i > 1) await change(`${under}/devices/${dev}/configuration`, { configuration });
      this.#pool("prf").keep((await post(`${under}/device-profiles`, { name: `p-${i}`, configuration })).id);
      this.#pool("grp").keep((await post(`${under}/device-groups`, { name: `g-${i}` })).id);
      this.#pool("tsk").keep((await post(`${under}/devices/${dev}/read`, {})).id);
      const select = { ids: [dev] };
      this.#pool("blk").keep((await post(`${under}/devices/bulk`, { select, action: { kind: "reboot" } })).id);
      this.#pool("rlo").keep((await post(`${under}/firmware-rollouts`, { select, name: `ro-${i}` })).id);
      this.#pool("scn").keep((await post(`${under}/device-scans`, { ranges: ["10.0.0.1"] })).id);
      const repository = { url: "https://git.example.org/a.git" };
      this.#pool("syn").keep((await post(`${under}/device-syncs`, { name: `sy-${i}`, repository })).id);
      this.#pool("rep").keep((await post(`${under}/repositories`, { name: `re-${i}` })).id);
      this.#pool("bld").keep((await post(`${under}/builds`, { repository: `re-${i}` })).id);
      const when = { kind: "interval", everyMs: 3_600_000 };
      const commands = [{ action: "work.openItem", body: { type: "task", title: "Look" } }];
      this.#pool("sch").keep((await post(`${under}/schedules`, { name: `s-${i}`, when, commands })).id);
      const opened = { kind: "event", context: "work", types: ["ItemOpened"] };
      this.#pool("rul").keep((await post(`${under}/rules`, { name: `r-${i}`, when: opened, commands })).id);
      // Nothing is sent there: no event is of this type.
      const events = { type: ["NeverHappens"] };
      const url = `https://hooks.example.com/${i}`;
      this.#pool("whk").keep((await post(`${under}/webhooks`, { name: `w-${i}`, url, events })).id);
      this.#pool("chn").keep((await post(`${under}/channels`, { name: `c-${i}`, url: `ntfy://c-${i}`, events })).id);
      this.#pool("sub").keep((await post(`${under}/subscribers`, { name: `n-${i}`, events })).id);
      const alert = { on: { kind: "node", id: "local" }, metric: "load_1m", condition: { is: "above", value: 1 } };
      this.#pool("alr").keep((await post(`${under}/alerts`, { name: `a-${i}`, ...alert })).id);
      this.#pool("rol").keep((await post(`${under}/roles`, { name: `r-${i}`, grants: ["work:read"] })).id);
      const invite = { name: `m-${i}`, role: i === 0 ? "owner" : "viewer" };
      const { id, secret } = await post(`${under}/invitations`, invite);
      this.#pool("inv").keep(id);
      const { member, secret: token } = await post("/v1/invitations/accept", { secret });
      this.#pool("usr").keep(member.id);
      if (i === 0) this.members.push(token);
      this.#pool("tok").keep((await post(`${under}/tokens`, { name: `t-${i}`, grants: ["work:read"] })).id);
      this.#pool("sec").keep((await post(`${under}/secrets`, { name: `s-${i}`, value: `value ${i}` })).id);
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
      await token(home, "narrow", { grants: [`work:*@${this.#pool("itm").pick(0)}`] }),
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
