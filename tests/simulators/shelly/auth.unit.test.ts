/** Digest in its dialects, the 32 nonces, the ladder against guessing; by a time that is moved by hand. */
import assert from "node:assert/strict";
import { suite } from "../../harness/suite.ts";
import { basicLogin, DigestLogin, headerOf, messageOf, parseDigest, SLOTS, sha256, type Verdict } from "./auth.ts";
import type { Dialect, Json, JsonObject, Stats } from "./face.ts";

const test = suite("login of simulated devices");
const REALM = "shellyplus1-a0dd01000000";
const PASSWORD = "right, horse";
const SECOND = 1000;

function door(dialect: Dialect) {
  let now = 1_780_000_000_000;
  const stats: Stats = {
    ...{ requests: 0, failedLogins: 0, logins: 0, challenges: 0, refusals: 0, mostAtOnce: 0, connections: 0, boots: 0 },
    calls: {},
  };
  const login = new DigestLogin({ dialect, realm: REALM, now: () => now, nonceHoldMs: 2 * SECOND, stats });
  login.setPassword(PASSWORD);
  /** The nonce of a new challenge. */
  const challenge = (): string => {
    const verdict = login.http("GET", "/rpc/Sys.GetStatus", undefined);
    assert.equal(verdict.status, 401);
    return String(verdict.status === 401 && verdict.challenge.nonce);
  };
  const header = (nonce: string, nc: string, more: { password?: string; extra?: string; uri?: string } = {}) => {
    const { password = PASSWORD, extra = "", uri = "/rpc/Sys.GetStatus" } = more;
    const ha1 = sha256(`admin:${REALM}:${password}`);
    const response = sha256(`${ha1}:${nonce}:${nc}:c1:auth:${sha256(`GET:${uri}`)}`);
    return `Digest username="admin", realm="${REALM}", nonce="${nonce}", uri="${uri}", cnonce="c1", nc=${nc}, qop=auth, response="${response}"${extra}`;
  };
  const use = (nonce: string, nc: number, more: { password?: string } = {}): Verdict =>
    login.http("GET", "/rpc/Sys.GetStatus", header(nonce, nc.toString(16).padStart(8, "0"), more));
  const frame = (nonce: Json, nc: Json | undefined, hashed: string): Verdict => {
    const ha1 = sha256(`admin:${REALM}:${PASSWORD}`);
    const response = sha256(`${ha1}:${nonce}:${hashed}:7:auth:${sha256("dummy_method:dummy_uri")}`);
    const auth: JsonObject = { realm: REALM, username: "admin", nonce, cnonce: 7, response, algorithm: "SHA-256" };
    return login.frame(nc === undefined ? auth : { ...auth, nc });
  };
  const pass = (ms: number) => {
    now += ms;
  };
  return { login, stats, challenge, header, use, frame, pass, now: () => now };
}

const isStale = (verdict: Verdict) => verdict.status === 401 && verdict.challenge.stale;
const textOf = (verdict: Verdict) => (verdict.status === 429 ? verdict.text : "");

test("the constant of frames is the documented one", () => {
  assert.equal(sha256("dummy_method:dummy_uri"), "6370ec69915103833b5222b368555393393f098bfbfbb59f47e0590af135f062");
});

test("challenges are written as devices write them", () => {
  const challenge = { realm: "shellypro3em-ec62609773d8", nonce: 1694692867, stale: false, wall: false };
  assert.equal(
    headerOf(challenge),
    'Digest qop="auth", realm="shellypro3em-ec62609773d8", nonce="1694692867", algorithm=SHA-256',
  );
  const frame = { realm: "shellyplus2pm-485519992590", nonce: 1725185413, stale: false, wall: false };
  const captured =
    '{"auth_type": "digest", "nonce": 1725185413, "nc": 1, "realm": "shellyplus2pm-485519992590", "algorithm": "SHA-256"}';
  assert.equal(messageOf(frame), captured);
  assert.match(headerOf({ ...challenge, wall: true }), /opaque=""/);
  assert.match(headerOf({ ...challenge, nonce: "AAAAAGoN/xP8==", stale: true }), /nonce="AAAAAGoN\/xP8==".*stale=true/);
});

test("a header is read with padding and commas in it", () => {
  const fields = parseDigest('Digest username="a,b", nonce="AAAA/xP==", qop=auth, nc=0000000a, opaque=""');
  assert.deepEqual(fields, { username: "a,b", nonce: "AAAA/xP==", qop: "auth", nc: "0000000a", opaque: "" });
  assert.equal(parseDigest("Basic abc"), undefined);
  assert.deepEqual(basicLogin(`Basic ${btoa("admin:a:b")}`), { user: "admin", password: "a:b" });
});

test("1.x: the nonce is the time, good for an hour, and nc is not looked at", () => {
  const { challenge, use, pass, frame, now, stats } = door("1.x");
  const nonce = challenge();
  assert.equal(Number(nonce), now() / 1000);
  assert.equal(use(nonce, 1).status, 200);
  assert.equal(use(nonce, 1).status, 200);
  assert.equal(frame(Number(nonce), undefined, "1").status, 200);
  assert.equal(frame(Number(nonce), 1, "1").status, 200);
  // In frames it computes with 1, whatever is sent; and the nonce goes back as a number.
  assert.equal(frame(Number(nonce), 2, "2").status, 401);
  assert.equal(frame(nonce, 1, "1").status, 401);
  pass(3_599 * SECOND);
  assert.equal(use(nonce, 9).status, 200);
  pass(SECOND);
  const late = use(nonce, 10);
  assert.ok(late.status === 401 && !late.challenge.stale);
  assert.equal(stats.failedLogins, 2);
});

test("the uri, the realm, the user and the algorithm must be right", () => {
  const { login, challenge, header } = door("1.x");
  const nonce = challenge();
  const good = header(nonce, "00000001");
  assert.equal(login.http("GET", "/rpc/Sys.GetStatus", good).status, 200);
  assert.equal(login.http("GET", "/rpc/Sys.GetStatus?id=0", good).status, 401);
  assert.equal(login.http("POST", "/rpc/Sys.GetStatus", good).status, 401);
  assert.equal(login.http("GET", "/rpc/Sys.GetStatus", good.replace('"admin"', '"root"')).status, 401);
  assert.equal(login.http("GET", "/rpc/Sys.GetStatus", `${good}, algorithm=MD5`).status, 401);
});

test("the Wall Display wants its empty opaque back", () => {
  const { login, challenge, header } = door("wall");
  const nonce = challenge();
  assert.equal(login.http("GET", "/rpc/Sys.GetStatus", header(nonce, "00000001")).status, 401);
  assert.equal(
    login.http("GET", "/rpc/Sys.GetStatus", header(nonce, "00000001", { extra: ', opaque=""' })).status,
    200,
  );
  const verdict = login.frame(undefined);
  assert.match(verdict.status === 401 ? messageOf(verdict.challenge) : "", /"nc": "1"/);
});

test("2.0: nc begins with 1 and rises; what does not is a failed login", () => {
  const { challenge, use, stats } = door("2.0.0");
  assert.equal(use(challenge(), 2).status, 401);
  const nonce = challenge();
  assert.match(nonce, /^AAAA[A-Za-z0-9+/]+==$/);
  assert.equal(use(nonce, 1).status, 200);
  assert.equal(use(nonce, 2).status, 200);
  assert.equal(use(nonce, 7).status, 200);
  assert.equal(use(nonce, 7).status, 401);
  assert.equal(stats.failedLogins, 2);
});

test("2.0: in frames nc is an integer or eight hex digits, and the nonce is text", () => {
  const { challenge, frame } = door("2.0.0");
  const nonce = challenge();
  assert.equal(frame(nonce, 1, "1").status, 200);
  assert.equal(frame(nonce, 2, "2").status, 200);
  assert.equal(frame(nonce, "0000000a", "0000000a").status, 200);
  assert.equal(frame(nonce, 11, "11").status, 200);
});

for (const dialect of ["2.0.0", "2.0.1"] as const) {
  test(`${dialect}: an expired nonce is stale, and no failed login`, () => {
    const { challenge, use, pass, stats } = door(dialect);
    const nonce = challenge();
    assert.equal(use(nonce, 1).status, 200);
    pass(3_600 * SECOND);
    assert.ok(isStale(use(nonce, 2)));
    assert.equal(stats.failedLogins, 0);
  });
}

test("a nonce is good for 30,000 uses", () => {
  const { login, challenge } = door("2.0.1");
  const nonce = challenge();
  for (let nc = 1; nc <= 30_000; nc++) login.nonces.use(nonce, nc);
  assert.equal(login.nonces.use(nonce, 30_001), "expired");
});

test("32 slots: then 429 for two seconds, then the least used one goes", () => {
  const { login, challenge, use, pass } = door("2.0.1");
  const nonces = Array.from({ length: SLOTS }, challenge);
  for (const nonce of nonces.slice(1)) assert.equal(use(nonce, 1).status, 200);
  assert.equal(textOf(login.frame(undefined)), "Too many requests");
  pass(1_999);
  assert.equal(login.frame(undefined).status, 429);
  // Who holds a slot is not disturbed.
  assert.equal(use(nonces[5]!, 2).status, 200);
  pass(1);
  assert.equal(login.frame(undefined).status, 401);
  assert.ok(login.nonces.used === SLOTS);
  assert.equal(login.nonces.use(nonces[0]!, 1), "unknown");
});

test("2.0.0: with an evicted nonce it is 429 for ever, until somebody asks without a login", () => {
  const { login, use, challenge, pass } = door("2.0.0");
  const mine = challenge();
  for (let i = 1; i < SLOTS; i++) assert.equal(use(challenge(), 1).status, 200);
  login.frame(undefined);
  pass(2 * SECOND);
  assert.equal(login.frame(undefined).status, 401); // takes the slot of mine, which was never used
  for (let minute = 0; minute < 30; minute++) {
    assert.equal(textOf(use(mine, 1)), "Too many requests");
    pass(60 * SECOND);
  }
  login.frame(undefined);
  pass(2 * SECOND);
  assert.equal(login.frame(undefined).status, 401);
});

test("2.0.1: with an evicted nonce it is stale, with room made", () => {
  const { login, use, challenge, pass } = door("2.0.1");
  const mine = challenge();
  for (let i = 1; i < SLOTS; i++) assert.equal(use(challenge(), 1).status, 200);
  login.frame(undefined);
  pass(2 * SECOND);
  login.frame(undefined);
  assert.equal(use(mine, 1).status, 429);
  pass(2 * SECOND);
  assert.ok(isStale(use(mine, 1)));
});

test("2.0.0 keeps the slots of expired nonces; 2.0.1 gives them back", () => {
  for (const [dialect, expected] of [
    ["2.0.0", 429],
    ["2.0.1", 401],
  ] as const) {
    const { login, challenge, pass } = door(dialect);
    for (let i = 0; i < SLOTS; i++) challenge();
    pass(2 * 3_600 * SECOND);
    assert.equal(login.frame(undefined).status, expected, dialect);
  }
});

test("a ladder against guessing: 10, 30, 60 seconds for the 11th, 21st, 31st failure within ten minutes", () => {
  const { challenge, use, pass, stats, login } = door("2.0.1");
  const guess = () => use(challenge(), 1, { password: "wrong" });
  for (let i = 0; i < 10; i++) assert.equal(guess().status, 401);
  for (let failure = 11; failure <= 33; failure++) {
    assert.equal(textOf(guess()), "Too many failed authentication attempts");
    assert.equal(stats.failedLogins, failure);
    pass((failure <= 20 ? 10 : failure <= 30 ? 30 : 60) * SECOND - 1);
    // Nobody is let in, and asking prolongs nothing.
    assert.equal(textOf(login.frame(undefined)), "Too many failed authentication attempts", `failure ${failure}`);
    pass(1);
  }
  assert.equal(use(challenge(), 1).status, 200);
  pass(600 * SECOND);
  assert.equal(guess().status, 401);
});

test("1.x knows no ladder", () => {
  const { challenge, use, stats } = door("1.x");
  for (let i = 0; i < 60; i++) assert.equal(use(challenge(), 1, { password: "wrong" }).status, 401);
  assert.equal(stats.failedLogins, 60);
});

test("without a password everybody is let in", () => {
  const { login } = door("2.0.0");
  login.setPassword(null);
  assert.equal(login.frame(undefined).status, 200);
  assert.equal(login.http("GET", "/", "Digest nonsense").status, 200);
});

test.run();
