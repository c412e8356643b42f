/** `mill status`, `doctor`, `setup` and `config`: what there is on this machine. */
import { examine, type Finding, setUp } from "@millrace/local/doctor.ts";
import { type RunningService, readRunState } from "@millrace/local/run-state.ts";
import { describeSettings } from "@millrace/local/settings.ts";
import type { Context } from "../contexts.ts";
import { Failure } from "../failure.ts";
import { connect } from "../gateway.ts";
import { type Io, oneLine } from "../io.ts";
import { facts, printList, table } from "../output.ts";
import { styleOf } from "../run.ts";
import { type AnyCall, EXIT } from "../table.ts";
import { tokenOf } from "../target.ts";
import type { Answer } from "../typed.ts";
import { type DataCall, dataFolderOf, settingsOf } from "./platform.ts";

/** Milliseconds that a probe may take. */
const PROBE_MS = 2_000;

type Projection = Answer<"listProjections">["items"][number];

/** A service with what its own probe says; `undefined` where it has none (NATS, PostgreSQL: the services' probes tell). */
interface Probed extends RunningService {
  readonly health: string | undefined;
}

export async function status(call: DataCall): Promise<number> {
  const { io } = call;
  const data = dataFolderOf(call);
  const state = readRunState(data);
  const style = styleOf(call);
  const asJson = style.format === "json" || style.format === "jsonl";
  if (state === undefined) {
    if (asJson) await io.out(`${JSON.stringify({ running: false, dataDir: data })}\n`);
    throw new Failure("not-running", EXIT.failure, `Nothing runs on ${data}`, { fix: "Start it: `mill up`" });
  }
  const services: Probed[] = await Promise.all(
    state.services.map(async (service) => ({ ...service, health: await healthOf(service) })),
  );
  const { url, ownerTokenFile } = state.facts;
  const projections =
    url === undefined
      ? undefined
      : await projectionsOf(io, { url, data, ...(ownerTokenFile ? { ownerTokenFile } : {}) });
  const isWell = services.every(({ state: now, health }) => now === "ready" && (health ?? "ready") === "ready");
  if (asJson) {
    const { pid, startedAt } = state;
    const shown = { running: true, well: isWell, dataDir: data, url, pid, startedAt, services, projections };
    await io.out(`${JSON.stringify(shown, null, style.format === "json" ? 2 : undefined)}\n`);
    return isWell ? EXIT.ok : EXIT.failure;
  }
  const head = facts([
    ["gateway", url],
    ["state in", data],
    ["supervisor", `process ${state.pid}, since ${state.startedAt}`],
  ]);
  const processes = table(
    services,
    [
      { title: "process", value: ({ name }) => name },
      { title: "state", value: ({ state: now }) => now },
      { title: "health", value: ({ health }) => health },
      { title: "pid", value: ({ pid }) => pid },
      { title: "ports", value: ({ ports }) => Object.entries(ports).map(([name, port]) => `${name} ${port}`) },
      { title: "restarts", value: ({ restarts }) => restarts },
      { title: "last end", value: ({ lastExit }) => lastExit },
    ],
    style,
  );
  await io.out(`${head}\n${processes}`);
  if (projections !== undefined && projections.length > 0) await io.out(`\n${projectionTable(projections, style)}`);
  return isWell ? EXIT.ok : EXIT.failure;
}

const projectionTable = (projections: readonly Projection[], style: ReturnType<typeof styleOf>): string =>
  table(
    projections,
    [
      { title: "projection", value: ({ name }) => name },
      { title: "context", value: ({ context }) => context },
      { title: "state", value: ({ state }) => state },
      { title: "lag", value: ({ lag }) => lag },
      { title: "why", value: ({ stoppedReason }) => stoppedReason },
    ],
    style,
  );

const portOf = ({ ports }: RunningService): number | undefined => ports.http ?? ports.health;

async function healthOf(service: RunningService): Promise<string | undefined> {
  const port = portOf(service);
  if (port === undefined || service.pid === undefined) return undefined;
  try {
    const answer = await fetch(`http://127.0.0.1:${port}/readyz`, { signal: AbortSignal.timeout(PROBE_MS) });
    const text = await answer.text();
    return answer.status === 200 ? "ready" : `not ready: ${oneLine(text).slice(0, 200)}`;
  } catch {
    return "no answer";
  }
}

/** What the gateway says of its projections; undefined where it cannot be asked. */
async function projectionsOf(io: Io, here: Context): Promise<Projection[] | undefined> {
  const token = tokenOf(io, "", here);
  const gateway = connect({ url: here.url, token, org: undefined, context: undefined }, io, {
    seconds: PROBE_MS / 1000,
    verbose: false,
  });
  try {
    const { items } = await gateway.call("listProjections", {});
    return [...items];
  } catch {
    return undefined; // the processes' own probes tell what is wrong
  }
}

/** Without these nothing of this version runs. */
const NEEDED: readonly Finding["context"][] = ["machine", "identity", "work"];

const findingColumns = [
  { title: "context", value: ({ context }: Finding) => context },
  { title: "needs", value: ({ need }: Finding) => need },
  { title: "found", value: ({ found, missing }: Finding) => found ?? (missing ? "missing" : "") },
  { title: "why", value: ({ missing }: Finding) => missing?.why },
  { title: "what installs it", value: ({ missing }: Finding) => missing?.install },
];

export async function doctor(call: AnyCall): Promise<number> {
  const findings = await examine(settingsOf(call.io).values);
  const style = styleOf(call);
  if (style.format === "table") {
    await call.io.out(table(findings, findingColumns.slice(0, 3), style));
    const missing = findings.filter((finding) => finding.missing);
    for (const { context, need, missing: lack } of missing) {
      await call.io.out(
        `\n${context}: ${oneLine(need)}\n  why: ${oneLine(lack!.why)}\n  fix: ${oneLine(lack!.install)}\n`,
      );
    }
  } else await printList(call.io, style, findings, findingColumns, ({ need }) => need);
  const lacks = findings.filter(({ context, missing }) => missing !== undefined && NEEDED.includes(context));
  if (lacks.length === 0) call.io.err("Everything that Millrace cannot run without is here\n");
  return lacks.length === 0 ? EXIT.ok : EXIT.failure;
}

export async function setup(call: AnyCall): Promise<number> {
  const { io } = call;
  const left = await setUp(settingsOf(io).values, (line) => io.err(`${line}\n`));
  await printList(io, styleOf(call), left, findingColumns, ({ need }) => need);
  if (left.length === 0) io.err("Everything is here\n");
  return left.some(({ context }) => NEEDED.includes(context)) ? EXIT.failure : EXIT.ok;
}

export async function config(call: AnyCall): Promise<void> {
  await printList(
    call.io,
    styleOf(call),
    describeSettings(settingsOf(call.io)),
    [
      { title: "setting", value: ({ key }) => key },
      { title: "value", value: ({ value }) => value },
      { title: "from", value: ({ origin }) => origin },
      { title: "environment", value: ({ env }) => env },
      { title: "meaning", value: ({ meaning }) => meaning },
    ],
    ({ key }) => key,
  );
}
