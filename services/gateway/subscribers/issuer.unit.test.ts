/** Tokens for NATS servers: signed as the client library, which knows the format, verifies. */
import assert from "node:assert/strict";
import { nkeys } from "@nats-io/transport-node";
import { suite } from "../../../tests/harness/suite.ts";
import { Issuer, seedFault } from "./issuer.ts";

const test = suite("tokens for NATS servers");

test("the library verifies what is signed, by the key it derives from the same seed", () => {
  for (let round = 0; round < 8; round++) {
    const seed = new TextDecoder().decode(nkeys.createAccount().getSeed());
    const issuer = new Issuer(seed);
    const token = issuer.sign("id", { sub: "x" });
    const [head, body, signature] = token.split(".");
    const claims = JSON.parse(Buffer.from(body!, "base64url").toString());
    assert.deepEqual([claims.iss, claims.jti, claims.sub], [issuer.publicKey, "id", "x"]);
    const signed = Buffer.from(`${head}.${body}`);
    const bytes = Buffer.from(signature!, "base64url");
    assert.ok(nkeys.fromPublic(claims.iss).verify(signed, bytes));
    bytes[0]! ^= 1;
    assert.ok(!nkeys.fromPublic(claims.iss).verify(signed, bytes));
  }
});

test("what is no seed of an account is told", () => {
  const text = (pair: { getSeed(): Uint8Array }) => new TextDecoder().decode(pair.getSeed());
  const account = text(nkeys.createAccount());
  assert.equal(seedFault(account), undefined);
  for (const wrong of ["", "SA", account.slice(1), `${account}A`, account.toLowerCase(), text(nkeys.createUser())]) {
    assert.ok(seedFault(wrong), wrong);
  }
});

test.run();
