/** The tables of names, the page made from them, and the metrics themselves. */
import { readFileSync } from "node:fs";
import { Gauge } from "prom-client";
import * as assert from "uvu/assert";
import { suite } from "../tests/harness/suite.ts";
import { ATTRIBUTES, gaugeFrom, METRICS, metrics, registry, startProcessMetrics } from "./telemetry.ts";
import { REFERENCE, telemetryReference } from "./telemetry-reference.ts";

const test = suite("telemetry");

test("the reference page is what the tables say", () => {
  assert.is(readFileSync(REFERENCE, "utf8"), telemetryReference(), "run: node eventlog/telemetry-reference.ts");
});

test("names follow the rules", () => {
  const all = Object.values(METRICS);
  assert.is(new Set(all.map(({ name }) => name)).size, all.length, "a name stands twice");
  for (const { name, type, help, labels } of all) {
    assert.match(name, /^millrace_[a-z]+(_[a-z]+)*$/);
    assert.is(type === "counter", name.endsWith("_total"), `${name}: counters, and only they, end in _total`);
    assert.not.match(name, /_(ms|milliseconds|minutes|kb|mb)(_|$)/, "base units only");
    assert.match(help, /\.$/, `${name}: a sentence`);
    for (const label of labels) {
      assert.not.match(
        label,
        /(^|_)(id|org|organisation|tenant|subject|user|actor|token)$/,
        `${name}: ${label} has no end of values`,
      );
    }
  }
  const attributes = Object.values(ATTRIBUTES);
  assert.is(new Set(attributes).size, attributes.length);
});

test("all of them are shown, with the process's own and the build", async () => {
  startProcessMetrics("test", "1.2.3");
  startProcessMetrics("test", "1.2.3");
  metrics.commits.inc({ context: "toy" }, 2);
  const text = await registry.metrics();
  for (const { name, type } of Object.values(METRICS)) assert.ok(text.includes(`# TYPE ${name} ${type}\n`), name);
  assert.match(text, /^millrace_commits_total\{context="toy"\} 2$/m);
  assert.match(text, /^millrace_build_info\{service="test",version="1\.2\.3",node="v\d+/m);
  assert.match(text, /^nodejs_eventloop_lag_p99_seconds /m);
  assert.match(text, /^process_resident_memory_bytes /m);
});

test("a gauge that is asked sums those who are there at that moment", async () => {
  const gauge = new Gauge({ name: "millrace_test_asked", help: "For this test.", registers: [] });
  const value = async () => (await gauge.get()).values[0]?.value;
  const one = gaugeFrom(gauge, () => 3);
  const two = gaugeFrom(gauge, () => 4);
  assert.is(await value(), 7);
  one();
  assert.is(await value(), 4);
  two();
  assert.is(await value(), 0);
});

test.run();
