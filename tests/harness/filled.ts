/** An organisation with something of everything in it, for tests of who may see it. */
import assert from "node:assert/strict";
import { type Answer, ask, type TestGateway } from "./gateway.ts";
import { openUpload } from "./uploads.ts";

/** Everything of one organisation that a path can name. */
export interface Things {
  readonly org: string;
  readonly byCollection: Readonly<Record<string, string>>;
  readonly line: string;
  readonly comment: string;
  readonly attachment: string;
  /** A token of the organisation that may do everything in it. */
  readonly all: string;
}

export function fillerOf({ url, owner, config }: Pick<TestGateway, "url" | "owner" | "config">) {
  const call = (token: string | undefined, method: string, path: string, options: Parameters<typeof ask>[3] = {}) =>
    ask(url, method, path, { token, ...options });

  async function expect(status: number, ...request: Parameters<typeof call>): Promise<Answer> {
    const answer = await call(...request);
    assert.equal(answer.status, status, `${request[1]} ${request[2]}: ${answer.text}`);
    return answer;
  }

  /** A new member, by invitation. */
  async function joined(under: string, name: string, role: string, at?: string) {
    const body = { name, role, ...(at === undefined ? {} : { at }) };
    const { secret } = (await expect(201, owner, "POST", `${under}/invitations`, { body })).body;
    const accepted = (await expect(201, undefined, "POST", "/v1/invitations/accept", { body: { secret } })).body;
    return { id: accepted.member.id as string, token: accepted.secret as string };
  }

  async function fill(name: string): Promise<Things> {
    const found = await call(owner, "GET", `/v1/organisations/${name}`);
    const org: string =
      found.status === 200
        ? found.body.id
        : (await expect(201, owner, "POST", "/v1/organisations", { body: { name } })).body.id;
    const under = `/v1/organisations/${org}`;
    const make = async (path: string, body: unknown) =>
      (await expect(201, owner, "POST", `${under}/${path}`, { body })).body;
    const item = await make("work-items", { type: "task", title: `Marked ${name}`, labels: [`label-${name}`] });
    const commented = await expect(200, owner, "POST", `${under}/work-items/${item.id}/comments`, {
      body: { text: `Said ${name}` },
    });
    const file = { body: new TextEncoder().encode(name), headers: { "content-type": "application/octet-stream" } };
    const attached = await expect(200, owner, "POST", `${under}/work-items/${item.id}/attachments?name=x`, file);
    const states = [
      { name: "todo", title: "To do", group: "unstarted" },
      { name: "done", title: "Done", group: "completed" },
    ];
    const type = await make("work-types", {
      name: `type-${name}`,
      title: `Type ${name}`,
      states,
      initial: "todo",
      transitions: [{ from: "todo", to: "done" }],
    });
    const token = await make("tokens", { name: `token-${name}`, grants: ["work:read"] });
    const secret = await make("secrets", { name: `secret-${name}`, value: "value" });
    const role = await make("roles", { name: `role-${name}`, grants: ["work:read"] });
    const invitation = await make("invitations", { name: `guest-${name}`, role: "viewer" });
    const member = await joined(under, `member-${name}`, "viewer");
    const all = await make("tokens", { name: `all-${name}`, grants: ["*"] });
    const app = await make("applications", {
      name: `app-${name}`,
      title: `Marked ${name}`,
      source: { kind: "git", url: "https://git.example.org/site.git" },
      build: { kind: "static" },
    });
    const deployed = await expect(202, owner, "POST", `${under}/applications/${app.id}/deploy`, { body: {} });
    const byCollection = {
      applications: app.id,
      uploads: await openUpload(config, org),
      deployments: deployed.body.id,
      "work-items": item.id,
      "work-types": type.id,
      tokens: token.id,
      secrets: secret.id,
      roles: role.id,
      invitations: invitation.id,
      members: member.id,
      "dead-letters": "work_0000000000000000",
    };
    const [line, comment] = [item.checklist[0].id, commented.body.comments[0].id];
    return { org, byCollection, line, comment, attachment: attached.body.attachments[0].id, all: all.secret };
  }

  return { fill, joined, call, expect };
}
