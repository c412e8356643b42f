/** Digest: the vectors of RFC 7616, and challenges as devices send them, in both dialects and with their oddities. */
import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import * as assert from "uvu/assert";
import { captures } from "../../../../tests/harness/captures.ts";
import { suite } from "../../../../tests/harness/suite.ts";

import {
  authOf,
  authorizationOf,
  challengeOfHeader,
  challengeOfMessage,
  HA2_OF_FRAMES,
  ha1Of,
  ha2OfRequest,
  isCounted,
  parseChallengeHeader,
  responseOf,
  sha256,
} from "./digest.ts";
import { DeviceFailure } from "./failures.ts";

const test = suite("digest");

/** RFC 7616, section 3.9.1. */
const RFC = {
  header:
    'Digest realm="http-auth@example.org", qop="auth, auth-int", algorithm=SHA-256, nonce="7ypf/xlj9XXwfDPEoM4URrv/xwf94BcCAzFZH4GiTo0v", opaque="FQhe/qaU925kfnzjCev0ciny7QMkPqMAFRtzCUYo5tdS"',
  ha1: ha1Of("http-auth@example.org", "Circle of Life", "Mufasa"),
  cnonce: "f2/wE4q74E6zIJEtWaHKaf5wv/H5QzzpXusqGemxURZJ",
};

test("the example of RFC 7616 for SHA-256", () => {
  const challenge = challengeOfHeader(RFC.header)!;
  assert.is(challenge.nonce, "7ypf/xlj9XXwfDPEoM4URrv/xwf94BcCAzFZH4GiTo0v");
  assert.is(challenge.opaque, "FQhe/qaU925kfnzjCev0ciny7QMkPqMAFRtzCUYo5tdS");
  const ha2 = ha2OfRequest("GET", "/dir/index.html");
  assert.is(
    responseOf(RFC.ha1, challenge.nonce, "00000001", RFC.cnonce, ha2),
    "753927fa0e85d155564e2e272a28d1802ca10daf4496794697cf8db5856cb6c1",
  );
});

test("a header is split at the first = and at commas outside of quotes", () => {
  const parsed = parseChallengeHeader(
    'Digest qop="auth",realm="a, b=\\"c\\"",nonce="AAAAAGoN/xP==" , algorithm=SHA-256,stale=true',
  )!;
  assert.is(parsed.scheme, "digest");
  assert.equal(Object.fromEntries(parsed.parameters), {
    qop: "auth",
    realm: 'a, b="c"',
    nonce: "AAAAAGoN/xP==",
    algorithm: "SHA-256",
    stale: "true",
  });
});

test("both dialects over HTTP, and the Wall Display's empty opaque comes back", () => {
  const old = challengeOfHeader(
    'Digest qop="auth", realm="shellypro3em-ec62609773d8", nonce="1694692867", algorithm=SHA-256',
  )!;
  assert.not.ok(isCounted(old));
  const header = 'Digest qop="auth", realm="w", nonce="AAAAAGoN/xPq4w==", opaque="", algorithm=SHA-256, stale=true';
  const challenge = challengeOfHeader(["Basic realm=x", header])!;
  assert.ok(isCounted(challenge) && challenge.stale);
  const proof = { challenge, nc: 11, cnonce: 4711, ha1: ha1Of("w", "secret") };
  const sent = parseChallengeHeader(authorizationOf(proof, "POST", "/rpc"))!.parameters;
  assert.is(sent.get("nc"), "0000000b");
  assert.is(sent.get("opaque"), "");
  assert.is(sent.get("nonce"), "AAAAAGoN/xPq4w==");
  const expected = sha256(
    [sha256("admin:w:secret"), "AAAAAGoN/xPq4w==", "0000000b", "4711", "auth", sha256("POST:/rpc")].join(":"),
  );
  assert.is(sent.get("response"), expected);
  assert.not.match(
    authorizationOf({ ...proof, challenge: { ...challenge, algorithm: false } }, "GET", "/"),
    "algorithm",
  );
});

test("frames: the fixed words, the nonce as it came, and the count as it is asked", () => {
  assert.is(HA2_OF_FRAMES, "6370ec69915103833b5222b368555393393f098bfbfbb59f47e0590af135f062");
  const message = (nonce: unknown, more: object = {}) =>
    JSON.stringify({ auth_type: "digest", nonce, nc: 1, realm: "d", algorithm: "SHA-256", ...more });
  const old = authOf({ challenge: challengeOfMessage(message(1725185413)), nc: 1, cnonce: 5, ha1: "h" });
  assert.is(old.nonce, 1725185413);
  assert.is(old.response, sha256(`h:1725185413:1:5:auth:${HA2_OF_FRAMES}`));
  const counted = authOf({ challenge: challengeOfMessage(message("AAAAA==")), nc: 2, cnonce: 5, ha1: "h" });
  assert.equal([counted.nonce, counted.nc], ["AAAAA==", 2]);
  assert.is(counted.response, sha256(`h:AAAAA==:2:5:auth:${HA2_OF_FRAMES}`));
  const wall = challengeOfMessage(message("AAAAA==", { nc: "00000001", opaque: "" }));
  const shown = authOf({ challenge: wall, nc: 12, cnonce: 5, ha1: "h" });
  assert.equal([shown.nc, shown.opaque], ["0000000c", ""]);
  assert.is(shown.response, sha256(`h:AAAAA==:0000000c:5:auth:${HA2_OF_FRAMES}`));
});

test("what nobody could answer is said to be garbled", () => {
  const garbled = (make: () => unknown) =>
    assert.throws(make, (error: unknown) => error instanceof DeviceFailure && error.kind === "garbled");
  garbled(() => challengeOfHeader('Digest realm="a", nonce="b", algorithm=MD5'));
  garbled(() => challengeOfHeader('Digest realm="a", algorithm=SHA-256'));
  garbled(() => challengeOfHeader('Digest realm="a", nonce="b", qop="auth-int"'));
  garbled(() => challengeOfMessage("not json"));
  garbled(() => challengeOfMessage(JSON.stringify({ realm: "x".repeat(5_000), nonce: 1 })));
  garbled(() => challengeOfMessage('{"realm":"x","nonce":{"a":1}}'));
  assert.is(challengeOfHeader('Basic realm="Shelly"'), undefined);
  assert.is(challengeOfHeader(undefined), undefined);
  assert.is(parseChallengeHeader(`Digest ${"a=b,".repeat(5_000)}`), undefined);
});

test("the challenge that a real device sent in a frame", ({ skip }) => {
  const folder = captures("_protocol") ?? skip("the captures of devices are not here");
  const frame = JSON.parse(readFileSync(`${folder}/ws-401-challenge-fw1.4.2.json`, "utf8"));
  const challenge = challengeOfMessage(frame.error.message);
  assert.is(challenge.realm, frame.src);
  assert.ok(challenge.numeric && !isCounted(challenge));
  assert.is(createHash("sha256").update("dummy_method:dummy_uri").digest("hex"), HA2_OF_FRAMES);
});

test.run();
