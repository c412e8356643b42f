/** Metrics, and alerts on them. */
import { confirm } from "../ask.ts";
import { usage } from "../failure.ts";
import { gatewayOf } from "../gateway.ts";
import { oneLine } from "../io.ts";
import { facts, printList, printOne } from "../output.ts";
import { styleOf } from "../run.ts";
import type { AnyCall, Call, Flag } from "../table.ts";
import type { Answer } from "../typed.ts";

type Metrics = Answer<"metricsOfApplication">;
type Alert = Answer<"getAlert">;
type Of<T extends Flag["type"], K extends string> = {
  readonly [P in K]: { readonly type: T; readonly summary: string };
};
type Args<K extends string> = { readonly [P in K]: { readonly summary: string } };
type Seen = Of<"integer", "seen">;

/** Bytes, ratios and counts by their name's last word. */
function shown(metric: string, value: number): string {
  if (metric.endsWith("_bytes")) return `${(value / 1e6).toFixed(1)} MB`;
  if (metric.endsWith("_bytes_per_second")) return `${(value / 1e3).toFixed(1)} kB/s`;
  if (metric.endsWith("_ratio")) return `${(value * 100).toFixed(1)} %`;
  return String(Math.round(value * 1_000) / 1_000);
}

type Series = Metrics["series"][number];

export async function metrics(
  call: Call<
    Of<"string", "node" | "metric"> & Of<"integer", "hours">,
    { readonly application: { readonly summary: string; readonly optional: true } }
  >,
): Promise<void> {
  const { args, flags, io } = call;
  const { application } = args;
  if ((application === undefined) === (flags.node === undefined))
    throw usage("Name an application, or a node by --node");
  const gateway = gatewayOf(call);
  const query = {
    from: new Date(Date.now() - (flags.hours ?? 1) * 3_600_000).toISOString(),
    ...(flags.metric === undefined ? {} : { metric: flags.metric }),
  };
  const answer: Metrics =
    flags.node === undefined
      ? await gateway.call("metricsOfApplication", { params: { id: application! }, query })
      : await gateway.call("metricsOfNode", { params: { id: flags.node }, query });
  const style = styleOf(call);
  if (style.format !== "table")
    return printOne(
      io,
      style,
      answer,
      () => "",
      () => "",
    );
  const sum = (series: Series, of: (point: Series["points"][number]) => number) =>
    series.points.reduce((total, point) => total + of(point), 0);
  await printList(
    io,
    style,
    answer.series,
    [
      { title: "metric", value: (row) => row.metric },
      { title: "of", value: (row) => Object.entries(row.labels).map(([name, value]) => `${name} ${value}`) },
      { title: "last", value: (row) => shown(row.metric, row.points.at(-1)?.mean ?? 0) },
      { title: "least", value: (row) => shown(row.metric, Math.min(...row.points.map(({ min }) => min))) },
      {
        title: "mean",
        value: (row) =>
          shown(
            row.metric,
            sum(row, ({ mean, count }) => mean * count) /
              Math.max(
                1,
                sum(row, ({ count }) => count),
              ),
          ),
      },
      { title: "most", value: (row) => shown(row.metric, Math.max(...row.points.map(({ max }) => max))) },
    ],
    (row) => row.metric,
  );
}

export function alertText(alert: Alert): string {
  const { spec, status } = alert;
  const { condition, on } = spec;
  return facts([
    ["name", spec.name],
    ["title", spec.title],
    ["id", alert.id],
    ["about", `${on.kind} ${on.id}`],
    [
      "condition",
      `${spec.metric} ${condition.is} ${condition.value}${condition.back === undefined ? "" : `, back at ${condition.back}`}, for ${spec.forMs / 1_000} s`,
    ],
    ["state", status.state],
    ["since", status.since],
    ["value", status.value],
    ["acknowledged", status.acknowledged && `${status.acknowledged.at} by ${oneLine(status.acknowledged.by.name)}`],
    ["silenced", status.silence && `until ${status.silence.until}: ${oneLine(status.silence.reason)}`],
    ["generation", alert.generation],
  ]);
}

const print = (call: AnyCall, alert: Alert) =>
  printOne(
    call.io,
    styleOf(call),
    alert,
    ({ spec, status }) => `${spec.name}  ${status.state}\n`,
    ({ spec }) => spec.name,
  );

function numberOf(flag: string, text: string): number {
  const value = Number(text);
  if (text.trim() === "" || !Number.isFinite(value)) throw usage(`--${flag} is no number: ${text}`);
  return value;
}

/** One of both is there. */
const conditionOf = ({ above, below, back }: Readonly<Record<"above" | "below" | "back", string | undefined>>) => ({
  is: above === undefined ? ("below" as const) : ("above" as const),
  value: above === undefined ? numberOf("below", below!) : numberOf("above", above),
  ...(back === undefined ? {} : { back: numberOf("back", back) }),
});

export async function changeAlert(
  call: Call<Of<"string", "above" | "below" | "back"> & Of<"integer", "for"> & Seen, Args<"alert">>,
): Promise<void> {
  const { args, flags } = call;
  const { above, below, back } = flags;
  const isCondition = above !== undefined || below !== undefined;
  if (above !== undefined && below !== undefined) throw usage("Say --above or --below");
  if (back !== undefined && !isCondition) throw usage("--back needs --above or --below");
  if (!isCondition && flags.for === undefined) throw usage("Nothing is to be changed", "Say what: --above, --for …");
  const payload = {
    ...(isCondition ? { condition: conditionOf({ above, below, back }) } : {}),
    ...(flags.for === undefined ? {} : { forMs: flags.for * 1_000 }),
  };
  await print(
    call,
    await gatewayOf(call).call("changeAlert", { params: { id: args.alert }, seen: flags.seen, payload }),
  );
}

export async function createAlert(
  call: Call<
    Of<"string", "application" | "node" | "metric" | "above" | "below" | "back"> & Of<"integer", "for">,
    Args<"name">
  >,
): Promise<void> {
  const { args, flags } = call;
  const { application, node, metric, above, below, back } = flags;
  if ((application === undefined) === (node === undefined)) throw usage("Say --application or --node");
  if (metric === undefined) throw usage("--metric is needed", "`mill metrics` shows which there are");
  if ((above === undefined) === (below === undefined)) throw usage("Say --above or --below");
  const alert = await gatewayOf(call).call("createAlert", {
    payload: {
      name: args.name,
      on: application === undefined ? { kind: "node", id: node! } : { kind: "application", id: application },
      metric,
      condition: conditionOf({ above, below, back }),
      forMs: (flags.for ?? 0) * 1_000,
    },
  });
  await print(call, alert);
}

export async function acknowledgeAlert(call: Call<Seen, Args<"alert">>): Promise<void> {
  const { args, flags } = call;
  await print(call, await gatewayOf(call).call("acknowledgeAlert", { params: { id: args.alert }, seen: flags.seen }));
}

export async function silenceAlert(
  call: Call<Seen & Of<"integer", "minutes"> & Of<"string", "reason"> & Of<"boolean", "end">, Args<"alert">>,
): Promise<void> {
  const { args, flags } = call;
  const params = { id: args.alert };
  const gateway = gatewayOf(call);
  if (flags.end) return print(call, await gateway.call("unsilenceAlert", { params, seen: flags.seen }));
  if (flags.reason === undefined) throw usage("--reason is needed: others see it");
  const until = new Date(Date.now() + (flags.minutes ?? 60) * 60_000).toISOString();
  const payload = { until, reason: flags.reason };
  await print(call, await gateway.call("silenceAlert", { params, seen: flags.seen, payload }));
}

export async function deleteAlert(call: Call<Seen, Args<"alert">>): Promise<void> {
  const { args, flags } = call;
  await confirm(call, `Delete the alert ${args.alert}`, args.alert);
  await gatewayOf(call).call("deleteAlert", { params: { id: args.alert }, seen: flags.seen });
  call.io.err(`Deleted ${args.alert}\n`);
}
