/** W3C trace context by our own lines, and spans that cost nothing when nothing is recorded. */
import * as assert from "uvu/assert";
import { suite } from "../tests/harness/suite.ts";
import { makeLogger } from "./logging.ts";
import {
  continueTrace,
  formatTraceparent,
  linkTo,
  parseTraceparent,
  serverSpan,
  startTracing,
  tracingEnabled,
  withSpan,
} from "./tracing.ts";

const test = suite("tracing");

const TRACE = "0af7651916cd43dd8448eb211c80319c";
const SPAN = "b7ad6b7169203331";

test("a traceparent is read and written as the recommendation says", () => {
  assert.equal(parseTraceparent(`00-${TRACE}-${SPAN}-01`), { traceId: TRACE, spanId: SPAN, sampled: true });
  assert.is(parseTraceparent(`00-${TRACE}-${SPAN}-00`)?.sampled, false);
  assert.is(parseTraceparent(`00-${TRACE}-${SPAN}-03`)?.sampled, true, "flags that are not known yet are ignored");
  assert.is(parseTraceparent(`cc-${TRACE}-${SPAN}-01-what-the-future-brings`)?.traceId, TRACE, "a later version");
  const text = `00-${TRACE}-${SPAN}-01`;
  assert.is(formatTraceparent(parseTraceparent(text)!), text);
});

test("what is no traceparent is refused, not repaired", () => {
  for (const text of [
    undefined,
    "",
    "garbage",
    `00-${TRACE}-${SPAN}`,
    `00-${TRACE}-${SPAN}-01-more`,
    `00-${TRACE}-${SPAN}-1`,
    `00-${TRACE.toUpperCase()}-${SPAN}-01`,
    `00-${"0".repeat(32)}-${SPAN}-01`,
    `00-${TRACE}-${"0".repeat(16)}-01`,
    `ff-${TRACE}-${SPAN}-01`,
    ` 00-${TRACE}-${SPAN}-01`,
    `00-${TRACE}-${SPAN}-01\n`,
    `cc-${TRACE}-${SPAN}-01-${"x".repeat(1_000)}`,
  ]) {
    assert.is(parseTraceparent(text), undefined, String(text));
  }
});

test("a trace is continued under a new span, or begun", () => {
  const continued = continueTrace(`00-${TRACE}-${SPAN}-01`);
  assert.is(continued.traceId, TRACE);
  assert.is.not(continued.spanId, SPAN);
  assert.ok(continued.sampled);
  const [one, two] = [continueTrace(undefined), continueTrace("garbage")];
  assert.is.not(one.traceId, two.traceId);
  for (const begun of [one, two]) assert.equal(parseTraceparent(formatTraceparent(begun)), begun);
});

test("without an endpoint nothing is recorded, and a request has its trace id all the same", async () => {
  const stop = await startTracing({ service: "test", version: "1", env: {} });
  assert.not.ok(tracingEnabled());
  const span = serverSpan({ method: "GET", traceparent: `00-${TRACE}-${SPAN}-01` });
  assert.is(span.traceId, TRACE);
  assert.is(parseTraceparent(span.traceparent)?.traceId, TRACE);
  span.end({ status: 200 });
  assert.equal(linkTo([span.traceparent]), []);
  const answer = await withSpan("anything", { a: 1 }, async (inner) => {
    inner.set("b", 2);
    return inner.traceparent;
  });
  assert.is(answer, undefined);
  const lines: string[] = [];
  makeLogger({ service: "test", stream: { write: (line) => void lines.push(line) } }).info("no span at hand");
  assert.not.match(lines[0]!, /traceId/);
  await stop();
});

test("work that fails fails as it would without a span", async () => {
  const error = new Error("no");
  assert.is(await withSpan("failing", {}, () => Promise.reject(error)).catch((caught) => caught), error);
});

test.run();
