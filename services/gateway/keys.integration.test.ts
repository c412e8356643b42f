/** Rotating the master key through the API: what was sealed before is read afterwards, with the new key alone. */
import { randomBytes } from "node:crypto";
import { secret } from "@millrace/domain/identity/secret.ts";
import { readCommits } from "@millrace/eventlog/aggregate.ts";
import { connectNats } from "@millrace/eventlog/connection.ts";
import { parseMasterKeys, type SealedValue, Sealing } from "@millrace/eventlog/sealing.ts";
import * as assert from "uvu/assert";
import { ask, assertProblem, testGateway } from "../../tests/harness/gateway.ts";
import { testNats } from "../../tests/harness/servers.ts";
import { deferToEndOfFile, suite } from "../../tests/harness/suite.ts";

const test = suite("the master key is rotated", { timeoutMs: 60_000 });
const newKey = () => randomBytes(32).toString("base64");

test("every data key is wrapped anew, again changes nothing, and an unknown key is told", async () => {
  const [older, newer] = [newKey(), newKey()];
  const first = await testGateway({ masterKey: older });
  const body = { name: "registry", value: "s3cret" };
  const stored = await ask(first.url, "POST", "/v1/organisations/home/secrets", { token: first.owner, body });
  assert.is(stored.status, 201);

  const rotate = (at: { url: string; owner: string }, token = at.owner) =>
    ask(at.url, "POST", "/v1/master-key/rotate", { token });
  const strange = await rotate(await testGateway({ ...first.config, masterKey: newKey() }));
  assert.is(strange.status, 200);
  assert.equal([strange.body.rewrapped, strange.body.failures], [0, 1]);
  assert.is(strange.body.failed[0].subject, stored.body.id);
  assert.match(strange.body.failed[0].reason, /master key/);

  const both = await testGateway({ ...first.config, masterKey: `${newer}\n${older}` });
  assert.equal((await rotate(both)).body, { rewrapped: 1, current: 0, failed: [], failures: 0 });
  assert.equal((await rotate(both)).body, { rewrapped: 0, current: 1, failed: [], failures: 0 });

  const { url, user, pass } = await testNats();
  const nats = await connectNats({ url, user, password: pass, name: "keys" });
  deferToEndOfFile(() => nats.close());
  const sealing = await Sealing.open({ nats, masterKeys: parseMasterKeys(newer), replicas: 1 });
  const sealed: SealedValue[] = [];
  for await (const { events } of readCommits(nats, secret, stored.body.id))
    for (const { data } of events) sealed.push((data as { sealed: SealedValue }).sealed);
  const clear = await sealing.unseal(sealed[0]!, { organisation: stored.body.organisation, purpose: "test" });
  assert.is(new TextDecoder().decode(clear), "s3cret");
});

test("only the installation's owner may", async () => {
  const { url, owner } = await testGateway();
  const body = { name: "deputy", grants: ["identity:secrets"] };
  const token = await ask(url, "POST", "/v1/organisations/home/tokens", { token: owner, body });
  assertProblem(await ask(url, "POST", "/v1/master-key/rotate", { token: token.body.secret }), 403, "forbidden");
});

test.run();
