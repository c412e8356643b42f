/** What authorisation costs a request: from the token's secret to who may and for what, against hashing the secret and looking it up alone. */
import { createHash, randomBytes } from "node:crypto";
import { makeId } from "@millrace/contracts/ids.ts";
import type { PERMISSIONS } from "@millrace/contracts/permissions.ts";
import { makeToken } from "@millrace/contracts/token.ts";
import { member } from "@millrace/domain/identity/member.ts";
import { organisation } from "@millrace/domain/identity/organisation.ts";
import { token } from "@millrace/domain/identity/token.ts";
import { EventLog } from "@millrace/eventlog/eventlog.ts";
import { type Change, executeAll } from "@millrace/eventlog/execute.ts";
import { makeLogger } from "@millrace/eventlog/logging.ts";
import { admit, counted } from "@millrace/gateway/access.ts";
import { hashOf, IdentityDirectory } from "@millrace/gateway/identity.ts";
import { Limits } from "@millrace/gateway/limits.ts";
import { TokenUses } from "@millrace/gateway/uses.ts";
import { inTurn, median, ratioOf, report } from "./measure.ts";
import { bench } from "./servers.ts";

const MEMBERS = 1_000;
const AT_ONCE = 20;
const REQUESTS = 200_000;

await bench(async (b) => {
  const { url, user, password } = await b.nats();
  const log = await EventLog.open({ url, user, password, name: "bench", replicas: 1 }, ["identity"]);
  b.defer(() => log.close());
  const org = makeId("org", Date.now(), randomBytes(10));
  const run = (changes: Change[]) =>
    executeAll(log, changes, {
      organisation: org,
      actor: { kind: "system", id: "bench", name: "bench" },
      commandId: randomBytes(12).toString("hex"),
      digest: "",
      correlation: "bench",
      causation: "bench",
      now: new Date().toISOString(),
    });
  await run([{ kind: organisation, id: org, command: { type: "CreateOrganisation", name: "bench", title: "Bench" } }]);
  const secrets: string[] = [];
  const join = (n: number) => {
    const secret = makeToken("mrt", randomBytes);
    secrets.push(secret);
    const id = makeId("usr", Date.now(), randomBytes(10));
    const app = makeId("app", Date.now(), randomBytes(10));
    const bindings = [{ role: "viewer" }, { role: "operator", at: "work" }, { role: "developer", at: app }];
    return run([
      { kind: member, id, command: { do: "join", name: `m-${n}`, title: "M", bindings, invitation: "bench" } },
      {
        kind: token,
        id: makeId("tok", Date.now(), randomBytes(10)),
        command: {
          type: "CreateToken",
          name: `t-${n}`,
          hash: hashOf(secret),
          last8: secret.slice(-8),
          grants: ["work:*", "applications:*", "identity:read"],
          installation: false,
          member: id,
          granter: [["*"]],
        },
      },
    ]);
  };
  for (let n = 0; n < MEMBERS; n += AT_ONCE) await Promise.all(Array.from({ length: AT_ONCE }, (_, i) => join(n + i)));
  const identity = new IdentityDirectory();
  await identity.start(log, () => {});
  b.defer(() => identity.stop());
  const uses = new TokenUses(log, makeLogger({ service: "bench", level: "silent" }));
  const limits = new Limits({ perMinute: { read: 1e9, write: 1e9, address: 1e9 } });
  const verbs = [
    "work:read",
    "work:edit",
    "applications:read",
    "identity:read",
  ] as const satisfies (keyof typeof PERMISSIONS)[];

  let allowed = 0;
  const ours = async () => {
    const began = performance.now();
    for (let i = 0; i < REQUESTS; i++) {
      const need = { permission: verbs[i & 3]!, organisation: org, changes: (i & 3) === 1 };
      const access = admit(identity, uses, secrets[i % MEMBERS]!, need);
      if (!("token" in access)) throw new Error(access.title);
      if (counted(limits, access.token.id, { address: "192.0.2.1", class: "read" }) === undefined) allowed++;
      // As between two requests: what was counted comes in.
      if ((i & 63) === 0) await null;
    }
    return ((performance.now() - began) * 1_000) / REQUESTS;
  };
  const known = new Map(secrets.map((secret, n) => [hashOf(secret), n]));
  const theirs = async () => {
    const began = performance.now();
    let found = 0;
    for (let i = 0; i < REQUESTS; i++) {
      const hash = createHash("sha256")
        .update(secrets[i % MEMBERS]!)
        .digest("hex");
      if (known.has(hash)) found++;
      if ((i & 63) === 0) await null;
    }
    if (found !== REQUESTS) throw new Error("not all were found");
    return ((performance.now() - began) * 1_000) / REQUESTS;
  };
  const measured = await inTurn(5, ours, theirs);
  if (allowed === 0) throw new Error("nobody was allowed");
  const micros = (values: number[]) => `${median(values).toFixed(2)} µs a request`;
  report({
    what: `authorisation: token, member with three roles, reach, two limits; ${MEMBERS} members`,
    against: "SHA-256 of the secret and one look into a map",
    // Of times the smaller is the better: theirs by ours.
    ratio: ratioOf({ ours: measured.theirs, theirs: measured.ours }, (value) => value),
    reach: "≥ 0.1",
    ours: micros(measured.ours),
    theirs: micros(measured.theirs),
    durability: "none: nothing is written",
  });
});
