import { chmodSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import * as assert from "uvu/assert";
import { isToken as isContractToken } from "../contracts/token.ts";
import { suite, type TestContext } from "../tests/harness/suite.ts";
import { accountKeyOf, makeAccountSeed } from "./nkeys.ts";
import { ensureMasterKey, ensureNatsDoor, ensureOwnerToken, isToken, makeToken } from "./secrets.ts";

const test = suite("secrets");

function folder({ defer }: TestContext): string {
  const made = mkdtempSync(join(tmpdir(), "millrace-secrets-"));
  defer(() => rmSync(made, { recursive: true }));
  return made;
}

test("a token has the form that the contract names", () => {
  for (let round = 0; round < 200; round++) {
    const token = makeToken("mrp");
    assert.match(token, /^mrp_[0-9A-Za-z]{46}$/);
    assert.ok(isToken(token, "mrp"));
    assert.ok(isContractToken(token));
  }
});

test("a changed digit, a lost one, or another prefix is noticed", () => {
  const token = makeToken("mrp");
  const other = token[10] === "a" ? "b" : "a";
  assert.not.ok(isToken(token.slice(0, 10) + other + token.slice(11), "mrp"));
  assert.not.ok(isToken(token.slice(0, -1), "mrp"));
  assert.not.ok(isToken(token, "mrt"));
});

test("files are made once, 0600, and kept", (context) => {
  const place = folder(context);
  const key = join(place, "sub", "master.key");
  ensureMasterKey(key);
  const made = readFileSync(key, "utf8");
  assert.is(Buffer.from(made.trim(), "base64").length, 32);
  assert.is(statSync(key).mode & 0o777, 0o600);
  ensureMasterKey(key);
  assert.is(readFileSync(key, "utf8"), made);
  const token = join(place, "owner.token");
  ensureOwnerToken(token);
  assert.ok(isToken(readFileSync(token, "utf8").trim(), "mrp"));
});

test("one that others may read, and one that is no key, are refused", (context) => {
  const key = join(folder(context), "master.key");
  ensureMasterKey(key);
  chmodSync(key, 0o644);
  assert.throws(() => ensureMasterKey(key), /may be read by others \(644\)/);
  chmodSync(key, 0o600);
  writeFileSync(key, "c2hvcnQ=\n");
  assert.throws(() => ensureMasterKey(key), /holds no master key/);
});

test("what lets subscribers into NATS is made once; a seed that was mistyped is told", (context) => {
  const [password, seed] = ["password", "seed"].map((name) => join(folder(context), name)) as [string, string];
  const made = ensureNatsDoor(password, seed);
  assert.match(made.issuer, /^A[A-Z2-7]{55}$/);
  assert.equal(ensureNatsDoor(password, seed), made);
  assert.is(statSync(seed).mode & 0o777, 0o600);
  const one = makeAccountSeed();
  assert.match(one, /^SA[A-Z2-7]{56}$/);
  for (const wrong of ["", one.slice(1), `${one.slice(0, 20)}${one[20] === "A" ? "B" : "A"}${one.slice(21)}`]) {
    assert.throws(() => accountKeyOf(wrong));
  }
});

test.run();
