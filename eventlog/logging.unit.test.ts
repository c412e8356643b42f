/** Log lines: their fields, and no secret in them however it got there. */
import * as Data from "effect/Data";
import * as assert from "uvu/assert";
import { suite } from "../tests/harness/suite.ts";
import { makeLogger, REDACTED, redactLine } from "./logging.ts";

const test = suite("logging");

function capture(level?: "debug") {
  const lines: string[] = [];
  const log = makeLogger({
    service: "gateway",
    stream: { write: (line) => void lines.push(line) },
    ...(level && { level }),
  });
  return { log, lines, last: () => JSON.parse(lines.at(-1)!) as Record<string, any> };
}

test("a line has time, level, service, msg and what it was given", () => {
  const { log, last } = capture();
  log.child({ requestId: "req_1", traceId: "0af7651916cd43dd8448eb211c80319c" }).warn({ attempt: 2 }, "slow");
  const { time, ...rest } = last();
  assert.is(new Date(time).toISOString(), time);
  assert.equal(rest, {
    level: "warn",
    service: "gateway",
    msg: "slow",
    requestId: "req_1",
    traceId: "0af7651916cd43dd8448eb211c80319c",
    attempt: 2,
  });
});

test("the level comes from MILLRACE_LOG_LEVEL, and a wrong one is told", ({ defer }) => {
  const before = process.env.MILLRACE_LOG_LEVEL;
  defer(() => {
    if (before === undefined) delete process.env.MILLRACE_LOG_LEVEL;
    else process.env.MILLRACE_LOG_LEVEL = before;
  });
  process.env.MILLRACE_LOG_LEVEL = "warn";
  const { log, lines } = capture();
  log.info("unseen");
  log.warn("seen");
  assert.is(lines.length, 1);
  process.env.MILLRACE_LOG_LEVEL = "loud";
  assert.throws(() => capture(), /MILLRACE_LOG_LEVEL is not one of/);
});

const SECRETS = "s3cr3t-Value/42";

test("fields named like a secret are taken out, however deep", () => {
  const { log, lines } = capture();
  log.info({
    password: SECRETS,
    headers: { Authorization: `Bearer ${SECRETS}`, "x-api-key": SECRETS, cookie: SECRETS, "set-cookie": [SECRETS] },
    list: [{ client_secret: SECRETS }, { deep: { privateKey: SECRETS, masterKeys: [SECRETS], key: SECRETS } }],
    accessToken: SECRETS,
    credentials: { user: "u", value: SECRETS },
    db: { MILLRACE_NATS_PASSWORD: SECRETS },
  });
  assert.not.match(lines[0]!, /s3cr3t/);
  const line = JSON.parse(lines[0]!);
  assert.is(line.password, REDACTED);
  assert.is(line.credentials, REDACTED);
});

test("what only sounds like a secret stays", () => {
  const { log, last } = capture();
  log.info(
    { secretId: "sec_1", tokenCount: 3, keyVersion: 2, dedupKey: "a", passed: "yes", tokens: 5 },
    "3 tokens checked",
  );
  const { secretId, tokenCount, keyVersion, dedupKey, passed, tokens, msg } = last();
  assert.equal([secretId, tokenCount, keyVersion, dedupKey, passed, tokens], ["sec_1", 3, 2, "a", "yes", 5]);
  assert.is(msg, "3 tokens checked");
});

test("text that looks like a secret is taken out of messages, errors, stacks and causes", () => {
  const { log, lines } = capture();
  const tagged = new (class LoginFailed extends Data.TaggedError("LoginFailed")<{
    readonly password: string;
    readonly at: string;
  }> {})({
    password: SECRETS,
    at: `https://anna:${SECRETS}@example.org/x`,
  });
  const error = new Error(`cannot reach nats://millrace:${SECRETS}@127.0.0.1:4222`, {
    cause: new Error("refused: Authorization: Basic czNjcjN0LVZhbHVlLzQy", { cause: tagged }),
  });
  log.error({ err: error }, `used mrt_0123456789abcdefghjkmnpqrs and mrp_abcdefgh01234567 with password=${SECRETS}`);
  const line = lines[0]!;
  assert.not.match(line, /s3cr3t|czNjcjN0|mrt_0|mrp_a/);
  const { err } = JSON.parse(line);
  assert.match(err.message, /nats:\/\/\[redacted\]@127/);
  assert.is(err.cause.cause.type, "LoginFailed");
  assert.match(err.stack, /logging\.unit\.test/);
});

test("a private key in a text is taken out, and a line that is no JSON is cleaned too", () => {
  const pem = "-----BEGIN PRIVATE KEY-----\nMC4CAQAwBQYDK2VwBCIEIA\n-----END PRIVATE KEY-----";
  const { log, lines } = capture();
  log.info({ text: `before ${pem} after` });
  assert.is(JSON.parse(lines[0]!).text, `before ${REDACTED} after`);
  assert.is(redactLine(`plain text with Bearer ${SECRETS}\n`), `plain text with Bearer ${REDACTED}\n`);
});

test("a line without anything suspicious is passed on as it is", () => {
  const line = '{"level":"info","msg":"commit 42 of work"}\n';
  assert.is(redactLine(line), line);
});

test.run();
