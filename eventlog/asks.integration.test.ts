/** Asks: typed, bounded in time and size, unavailable with `what` when nobody holds the resource. */
import { declareAsk } from "@millrace/contracts/asks.ts";
import { Refused } from "@millrace/contracts/problems.ts";
import * as Schema from "effect/Schema";
import * as assert from "uvu/assert";
import { testNats } from "../tests/harness/servers.ts";
import { suite } from "../tests/harness/suite.ts";
import { AskRefused, AskUnavailable, answerAsk, ask } from "./asks.ts";
import { connectNats, type Nats } from "./connection.ts";
import { metrics } from "./telemetry.ts";

const size = declareAsk({
  context: "toy",
  name: "size-of",
  request: Schema.Struct({ path: Schema.String }),
  answer: Schema.Struct({ bytes: Schema.Number, text: Schema.String }),
  timeoutMs: 500,
  maxBytes: 2_000,
});

const test = suite("asks");
let nats: Nats;
test.before(async () => {
  const { url, user, pass: password } = await testNats();
  nats = await connectNats({ url, user, password, name: "asks" });
});
test.after(() => nats?.close());

const failure = (work: Promise<unknown>): Promise<unknown> =>
  work.then(
    () => undefined,
    (error: unknown) => error,
  );
const unavailable = async (work: Promise<unknown>, reason: string, what: string) => {
  const error = await failure(work);
  assert.ok(error instanceof AskUnavailable, String(error));
  assert.equal({ reason: (error as AskUnavailable).reason, what: (error as AskUnavailable).what }, { reason, what });
};

test("answered by who holds it, and by nobody else", async ({ defer }) => {
  defer(answerAsk(nats, size, "home", async ({ path }) => ({ bytes: path.length, text: "home" })));
  defer(answerAsk(nats, size, "attic", async ({ path }) => ({ bytes: path.length, text: "attic" })));
  assert.equal(await ask(nats, size, "attic", { path: "abc" }), { bytes: 3, text: "attic" });
  const answered = await metrics.asks.get();
  assert.ok(answered.values.some(({ labels, value }) => labels.outcome === "answered" && value > 0));
});

test("nobody holds it: said at once, with what is missing", async () => {
  await unavailable(ask(nats, size, "cellar", { path: "a" }), "no-holder", "The node cellar");
  await unavailable(
    ask(nats, size, "cellar", { path: "a" }, "The worker of site 7"),
    "no-holder",
    "The worker of site 7",
  );
});

test("a holder that is too late, breaks, or says too much", async ({ defer }) => {
  let aborted = false;
  const errors: unknown[] = [];
  const stop = answerAsk(
    nats,
    size,
    "slow",
    async ({ path }, signal) => {
      if (path === "break") throw new Error("broken");
      if (path === "much") return { bytes: 1, text: "x".repeat(3_000) };
      if (path === "other") return { bytes: "many" as never, text: "" };
      await new Promise<void>((resolve) => {
        signal.addEventListener("abort", () => {
          aborted = true;
          resolve();
        });
      });
      return { bytes: 0, text: "" };
    },
    (error) => errors.push(error),
  );
  defer(stop);
  await unavailable(ask(nats, size, "slow", { path: "wait" }), "late", "The node slow");
  await new Promise((resolve) => setTimeout(resolve, 50));
  assert.ok(aborted, "the holder is told that nobody waits any more");
  await unavailable(ask(nats, size, "slow", { path: "break" }), "broken", "The node slow");
  await unavailable(ask(nats, size, "slow", { path: "other" }), "broken", "The node slow");
  await unavailable(ask(nats, size, "slow", { path: "much" }), "too-large", "The node slow");
  await unavailable(ask(nats, size, "slow", { path: "x".repeat(100_000) }), "too-large", "The node slow");
  assert.is(errors.length, 2);
});

test("a problem of the holder's reaches the asker as it is", async ({ defer }) => {
  const problem = new Refused({ rule: "no-repository", reason: "There is none at this address.", fix: "Check it." });
  defer(
    answerAsk(nats, size, "refusing", async () => {
      throw new AskRefused({ problem });
    }),
  );
  const error = await failure(ask(nats, size, "refusing", { path: "a" }));
  assert.ok(error instanceof AskRefused, String(error));
  const { problem: got } = error as AskRefused;
  assert.ok(got instanceof Refused);
  assert.equal([got.rule, got.reason, got.fix], ["no-repository", "There is none at this address.", "Check it."]);
});

test("a holder's name never becomes part of another subject", async () => {
  assert.throws(() => answerAsk(nats, size, "a.b", async () => ({ bytes: 0, text: "" })), /not a name/);
  assert.match(String(await failure(ask(nats, size, ">", { path: "" }))), /not a name/);
});

test.run();
