/** Series that are looked up once show the same as the library's own way. */
import { Counter, Histogram } from "prom-client";
import * as assert from "uvu/assert";
import { counter as kind } from "../tests/harness/counter.ts";
import { suite } from "../tests/harness/suite.ts";
import { AppendConflict, LogUnavailable } from "./failures.ts";
import { appendMeter, commandMeter, counterCell, histogramCell } from "./meters.ts";
import { registry } from "./telemetry.ts";

const test = suite("meters");

test("a series of a counter counts as the library does, and both may be used", async () => {
  const metric = new Counter({ name: "test_total", help: "t", labelNames: ["a", "b"], registers: [] });
  metric.inc({ a: "x", b: "y" }, 5);
  const cell = counterCell(metric, { a: "x", b: "y" });
  const other = counterCell(metric, { a: "x", b: "z" });
  cell.inc();
  cell.inc(3);
  metric.inc({ a: "x", b: "y" });
  other.inc();
  assert.equal(
    (await metric.get()).values.map(({ labels, value }) => [labels.b, value]),
    [
      ["y", 10],
      ["z", 1],
    ],
  );
});

test("a series of a histogram fills the same buckets as the library", async () => {
  const make = () =>
    new Histogram({ name: "test_seconds", help: "t", labelNames: ["a"], buckets: [0.5, 1, 10], registers: [] });
  const [ours, theirs] = [make(), make()];
  const cell = histogramCell(ours, { a: "x" });
  for (const value of [0, 0.5, 0.50001, 1, 3, 10, 11, 1e9]) {
    cell.observe(value);
    theirs.observe({ a: "x" }, value);
  }
  assert.equal(await ours.get(), await theirs.get());
  histogramCell(ours, { a: "x" }).observe(2);
  cell.observe(2);
  assert.is((await ours.get()).values.find(({ metricName }) => metricName === "test_seconds_count")?.value, 10);
});

test("appends and commands are shown under their labels", async () => {
  const meter = appendMeter("meters");
  assert.is(appendMeter("meters"), meter);
  const began = performance.now();
  meter.written(began);
  meter.found(began);
  meter.failed(new AppendConflict({ subject: "s", expected: 1 }), began);
  meter.failed(new LogUnavailable({ what: "NATS" }), began);
  meter.group(12);
  meter.committed(2, 5);
  const command = commandMeter({ ...kind, context: "meters" });
  command.ended("done", began);
  command.ended("refused", began);
  command.failed(new Error("defect"), began);
  const text = await registry.metrics();
  for (const line of [
    'millrace_append_duration_seconds_count{context="meters",outcome="written"} 1',
    'millrace_append_duration_seconds_count{context="meters",outcome="found"} 1',
    'millrace_append_duration_seconds_count{context="meters",outcome="conflict"} 1',
    'millrace_append_duration_seconds_count{context="meters",outcome="unavailable"} 1',
    'millrace_append_duration_seconds_count{context="meters",outcome="refused"} 0',
    'millrace_append_conflicts_total{context="meters"} 1',
    'millrace_append_group_size_bucket{le="16",context="meters"} 1',
    'millrace_append_group_size_bucket{le="8",context="meters"} 0',
    'millrace_commits_total{context="meters"} 2',
    'millrace_events_appended_total{context="meters"} 5',
    'millrace_commands_total{context="meters",kind="counter",outcome="done"} 1',
    'millrace_commands_total{context="meters",kind="counter",outcome="refused"} 1',
    'millrace_commands_total{context="meters",kind="counter",outcome="failed"} 1',
    'millrace_command_duration_seconds_count{context="meters",kind="counter"} 3',
  ]) {
    assert.ok(text.includes(`${line}\n`), line);
  }
});

test.run();
