/** Signatures against the published vector of Standard Webhooks. */
import assert from "node:assert/strict";
import { suite } from "../tests/harness/suite.ts";
import { keyOf, newSecret, sign } from "./webhook-signature.ts";

const test = suite("webhook signatures");

test("the published vector", () => {
  const signature = sign(
    [keyOf("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")],
    "msg_p5jXN8AQM9LWM0D4loKWxJek",
    1_614_265_330,
    '{"test": 2432232314}',
  );
  assert.equal(signature, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
});

test("secrets have 32 bytes, and two keys sign twice", () => {
  const [one, two] = [newSecret(), newSecret()];
  assert.match(one, /^whsec_[A-Za-z0-9+/]{43}=$/);
  assert.equal(keyOf(one).symmetricKeySize, 32);
  const both = sign([keyOf(one), keyOf(two)], "msg_1", 1, "{}").split(" ");
  assert.deepEqual(both, [sign([keyOf(one)], "msg_1", 1, "{}"), sign([keyOf(two)], "msg_1", 1, "{}")]);
});

test.run();
