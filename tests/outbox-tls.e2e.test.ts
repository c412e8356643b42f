/** What leaves over TLS: webhooks over HTTPS, mail by STARTTLS and by TLS, to servers whose authority the operator named; to no others. */
import assert from "node:assert/strict";
import { writeFileSync } from "node:fs";
import type { AddressInfo } from "node:net";
import { join } from "node:path";
import { authoritiesOf } from "@millrace/eventlog/authorities.ts";
import { SMTPServer, type SMTPServerOptions } from "smtp-server";
import { type Issued, makeAuthority } from "./harness/certificates.ts";
import { callerOf, eventually, testGateway, testProjector } from "./harness/gateway.ts";
import { startReceiver } from "./harness/receiver.ts";
import { testFolder } from "./harness/servers.ts";
import { deferToEndOfFile, suite } from "./harness/suite.ts";

const test = suite("outbox over TLS");

const authority = makeAuthority();
const good = authority.issue(["127.0.0.1"]);
const ca = join(testFolder("authority"), "ca.pem");
writeFileSync(ca, `# of this house\n${authority.cert}`);
const { url, owner, config } = await testGateway({ webhookAllow: "127.0.0.0/8" });
await testProjector(config, { outboxRetryPermille: 0, outboxTimeoutMs: 5_000, outgoingCa: `system,${ca}` });
const { expect } = callerOf({ url, owner });

const open = (title: string) => expect(201, "POST", "/work-items", { body: { type: "task", title } });
/** The reason of the last try, when it failed. */
const failure = (path: string) =>
  eventually(async () => {
    const { body } = await expect(200, "GET", `${path}/deliveries`);
    return body.items[0]?.reason as string | undefined;
  }, "a delivery that failed");

test("a webhook over HTTPS: by an authority of one's own; not by a stranger's, for another name, or one that is over", async () => {
  const receiver = await startReceiver(0, good);
  await expect(201, "POST", "/webhooks", { body: { name: "good", url: receiver.url, events: { context: ["work"] } } });
  const wrong: ReadonlyArray<readonly [name: string, Issued, RegExp]> = [
    ["stranger", makeAuthority("Stranger").issue(["127.0.0.1"]), /unable to verify|UNABLE_TO_VERIFY/i],
    ["other", authority.issue(["mail.example.com"]), /altname|ALTNAME/],
    ["over", authority.issue(["127.0.0.1"], -1), /expired|EXPIRED/],
  ];
  const refusing = await Promise.all(
    wrong.map(async ([name, tls, reason]) => {
      const server = await startReceiver(0, tls);
      await expect(201, "POST", "/webhooks", { body: { name, url: server.url, events: { context: ["work"] } } });
      return { name, server, reason };
    }),
  );
  await open("Told in private");
  const [told] = await eventually(async () => receiver.received[0] && receiver.received, "it is told");
  assert.equal(told!.body.data.title, "Told in private");
  for (const { name, server, reason } of refusing) {
    assert.match(await failure(`/webhooks/${name}`), reason);
    assert.deepEqual(server.received, [], "nothing was said to it");
    await expect(204, "DELETE", `/webhooks/${name}`, { headers: { "if-match": "*" } });
  }
  await expect(204, "DELETE", "/webhooks/good", { headers: { "if-match": "*" } });
});

interface Mailed {
  readonly secure: boolean;
  readonly user: unknown;
  readonly text: string;
}

/** A mail server over a real socket. @returns its port, and what it was sent */
async function mailServer(options: SMTPServerOptions) {
  const mails: Mailed[] = [];
  const logins: string[] = [];
  const server = new SMTPServer({
    ...options,
    authOptional: true,
    onAuth: ({ username = "", password = "" }, session, done) => {
      logins.push(`${session.secure ? "secure" : "clear"} ${username} ${password}`);
      done(null, { user: username });
    },
    onData: (stream, session, done) => {
      const chunks: Buffer[] = [];
      stream.on("data", (chunk: Buffer) => chunks.push(chunk));
      stream.on("end", () => {
        mails.push({ secure: session.secure, user: session.user, text: Buffer.concat(chunks).toString() });
        done();
      });
    },
  });
  server.on("error", () => {});
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", () => resolve()));
  deferToEndOfFile(() => new Promise<void>((resolve) => server.close(() => resolve())));
  return { port: (server.server.address() as AddressInfo).port, mails, logins };
}

test("mail by STARTTLS and by TLS, its password never in clear; not to a server whose certificate is no good", async () => {
  const stranger = makeAuthority("Stranger").issue(["127.0.0.1"]);
  const starting = await mailServer({ ...good, secure: false });
  const secure = await mailServer({ ...good, secure: true });
  const strange = await mailServer({ ...stranger, secure: false });
  const clear = await mailServer({ secure: false, disabledCommands: ["STARTTLS"], allowInsecureAuth: true });
  const to = "from=mill@example.com&to=ada@example.com";
  const create = (name: string, address: string) =>
    expect(201, "POST", "/channels", { body: { name, url: address, events: { type: ["ItemOpened"] } } });
  await create("starting", `smtp://mill:pass-word@127.0.0.1:${starting.port}/?${to}`);
  await create("secure", `smtps://mill:pass-word@127.0.0.1:${secure.port}/?${to}`);
  await create("strange", `smtp://mill:pass-word@127.0.0.1:${strange.port}/?${to}`);
  await create("clear", `smtp://mill:pass-word@127.0.0.1:${clear.port}/?${to}`);
  await open("By mail");
  for (const { mails, logins } of [starting, secure]) {
    const mail = await eventually(async () => mails[0], "a mail");
    assert.equal(mail.secure, true);
    assert.match(mail.text, /By mail/);
    assert.deepEqual([...new Set(logins)], ["secure mill pass-word"]);
  }
  assert.match(await failure("/channels/strange"), /unable to verify|UNABLE_TO_VERIFY/i);
  assert.match(await failure("/channels/clear"), /STARTTLS|TLS/);
  for (const { mails, logins } of [strange, clear]) assert.deepEqual([mails, logins], [[], []]);
});

test("authorities that are none are told of at the start", () => {
  const none = join(testFolder("none"), "none.pem");
  writeFileSync(none, "nothing");
  for (const text of [none, "/nonexistent/ca.pem", `system,${none}`]) {
    assert.throws(() => authoritiesOf(text), /MILLRACE_OUTGOING_CA: \/.* (holds no certificate|cannot be read)/);
  }
  assert.equal(authoritiesOf(undefined), undefined);
  assert.ok(authoritiesOf("system"));
});

test.run();
