/** Many devices at once: in bulk, firmware in stages, scans; and a simulated fleet. */
import { spawn } from "node:child_process";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { Failure, usage } from "../failure.ts";
import { gatewayOf } from "../gateway.ts";
import { oneLine } from "../io.ts";
import { facts, printList, printOne } from "../output.ts";
import { styleOf } from "../run.ts";
import { type AnyCall, EXIT } from "../table.ts";
import type { Answer, OperationName, RequestOf } from "../typed.ts";
import { selectionOf } from "./device-sets.ts";
import { type ConfiguredBy, configurationIn, treeOf, valuesOf } from "./devices.ts";
import { listAll } from "./read.ts";

type Bulk = Answer<"getBulk">;
type Rollout = Answer<"getRollout">;
type Scan = Answer<"getScan">;
type Of<F, A> = AnyCall & { readonly flags: F; readonly args: A };
interface Selecting {
  readonly device: readonly string[];
  readonly group?: string | undefined;
  readonly where: readonly string[];
}
interface Pace {
  readonly "at-once"?: number | undefined;
  readonly "halt-at"?: number | undefined;
  readonly wait: boolean;
  readonly expires?: number | undefined;
}

function selectOf({ device, group, where }: Selecting): Record<string, unknown> {
  const ways = [
    ...(device.length === 0 ? [] : [{ ids: device }]),
    ...(group === undefined ? [] : [{ group }]),
    ...(where.length === 0 ? [] : [{ where: selectionOf(where) }]),
  ];
  if (ways.length !== 1) throw usage("Say which devices in one way: --device, --group or --where");
  return ways[0]!;
}

const paceOf = ({ "at-once": atOnce, "halt-at": haltAtPercent, expires }: Pace) => ({
  ...(atOnce === undefined ? {} : { atOnce }),
  ...(haltAtPercent === undefined ? {} : { haltAtPercent }),
  ...(expires === undefined ? {} : { expiresInMs: expires * 1_000 }),
});

export function bulkText({ id, spec, status }: Bulk): string {
  const failures = status.failures.map(({ device, reason }) => `  ${device}  ${oneLine(reason)}\n`);
  return [
    facts([
      ["operation", id],
      ["what", spec.asked.kind],
      ["state", status.state],
      ["devices", spec.devices],
      ["waiting", status.waiting],
      ["running", status.running.length],
      ["succeeded", status.succeeded],
      ["failed", status.failed],
      ["expired", status.expired],
      ["refused", status.refused],
      ["cancelled", status.cancelled],
      ["ended", status.finishedAt],
    ]),
    ...(failures.length === 0 ? [] : [`failures\n${failures.join("")}`]),
    `each result: mill devices bulks results ${id}\n`,
  ].join("\n");
}

export const rolloutText = ({ id, spec, status }: Rollout): string =>
  facts([
    ["roll-out", spec.name],
    ["title", spec.title],
    ["id", id],
    ["state", status.state],
    [
      "stage",
      `${Math.min(status.stage + 1, spec.stages.length)} of ${spec.stages.length} (${spec.stages.join(", ")} devices)`,
    ],
    ["next", status.nextAt],
    ["operation", status.bulk],
    ["succeeded", status.succeeded],
    ["failed", status.failed + status.expired + status.refused],
    ["ended", status.finishedAt],
  ]);

export function scanText({ id, spec, status }: Scan): string {
  const rows = status.findings.map(
    ({ mac, address, model, name, firmware }) =>
      `  ${mac}  ${address.host}:${address.port}  ${oneLine(model)}  ${oneLine(firmware.version)}  ${oneLine(name ?? "")}\n`,
  );
  return [
    facts([
      ["scan", id],
      ["site", spec.site],
      ["where", [...(spec.mdns ? ["mDNS"] : []), ...spec.ranges].join(", ")],
      ["state", status.state],
      ["failed", status.failure === undefined ? undefined : oneLine(status.failure.message)],
      ["fix", status.failure === undefined ? undefined : oneLine(status.failure.fix)],
      ["tried", status.probed],
    ]),
    ...(rows.length === 0 ? [] : [`found\n${rows.join("")}`, `take them in: mill devices scans import ${id}\n`]),
  ].join("\n");
}

const idOf = ({ id }: { readonly id: string }): string => id;
/** Milliseconds of one request that waits. */
const WAIT_MS = 20_000;

/** Reads an entity until one of these states is reached. @throws Failure 124 when it is not within --timeout (default an hour) */
async function reached<E extends { readonly id: string; readonly status: { readonly state: string } }>(
  call: AnyCall,
  operation: OperationName,
  entity: E,
  states: readonly string[],
): Promise<E> {
  const gateway = gatewayOf(call);
  const seconds = call.flags.timeout ?? 3_600;
  const until = performance.now() + seconds * 1_000;
  let now = entity;
  while (!states.includes(now.status.state)) {
    const left = until - performance.now();
    if (left <= 0) {
      throw new Failure("timeout", EXIT.timeout, `${entity.id} is ${now.status.state} after ${seconds} s`, {
        fix: "It goes on; look at it again, or give it longer: --timeout",
      });
    }
    const query = { wait: `state=${states.join("|")}`, timeout: Math.ceil(Math.min(WAIT_MS, left)) };
    now = (await gateway.callAny(operation, { params: { id: entity.id }, query })) as E;
  }
  return now;
}

export async function startBulk(
  call: Of<Selecting & Pace & { readonly "dry-run": boolean }, { readonly action: string }>,
): Promise<number> {
  const { action: kind } = call.args;
  const { "dry-run": dryRun, wait } = call.flags;
  if (dryRun && kind !== "apply") throw usage("--dry-run is of apply alone");
  const action = dryRun ? { kind, dryRun } : { kind };
  const payload = { select: selectOf(call.flags), action, ...paceOf(call.flags) } as RequestOf<"startBulk">["payload"];
  return start(call, payload, wait);
}

async function start(call: AnyCall, payload: RequestOf<"startBulk">["payload"], wait: boolean): Promise<number> {
  const asked = await gatewayOf(call).call("startBulk", { payload });
  const bulk = wait ? await reached(call, "getBulk", asked, ["completed", "cancelled", "halted"]) : asked;
  await printOne(call.io, styleOf(call), bulk, bulkText, idOf);
  const { failed, expired, refused } = bulk.status;
  return failed + expired + refused === 0 ? EXIT.ok : EXIT.failure;
}

interface Wishing extends Selecting, ConfiguredBy, Pick<Pace, "halt-at" | "wait"> {
  readonly "add-profile": readonly string[];
  readonly "remove-profile": readonly string[];
  readonly "add-tag": readonly string[];
  readonly "remove-tag": readonly string[];
  readonly "add-group": readonly string[];
  readonly "remove-group": readonly string[];
  readonly "dry-run": boolean;
}

export async function configureBulk(call: Of<Wishing, unknown>): Promise<number> {
  const { flags } = call;
  const { "halt-at": haltAtPercent, "dry-run": dryRun, wait } = flags;
  if (flags.file !== undefined && flags.set.length > 0) throw usage("--set and --file are two ways: take one of them");
  const configuration =
    flags.file !== undefined
      ? await configurationIn(call, flags.file)
      : flags.set.length > 0
        ? treeOf(flags.set)
        : undefined;
  const lists = {
    addProfiles: flags["add-profile"],
    removeProfiles: flags["remove-profile"],
    addTags: flags["add-tag"],
    removeTags: flags["remove-tag"],
    addGroups: flags["add-group"],
    removeGroups: flags["remove-group"],
    forget: flags.unset,
  };
  const wish = {
    ...(configuration === undefined ? {} : { configuration }),
    ...(flags.value.length === 0 ? {} : { values: valuesOf(flags.value) }),
    ...Object.fromEntries(Object.entries(lists).filter(([, some]) => some.length > 0)),
  };
  if (Object.keys(wish).length === 0) throw usage("Nothing is said", "mill devices bulk configure --help");
  const action = { kind: "configure", ...wish, ...(dryRun ? { dryRun } : {}) };
  const payload = { select: selectOf(flags), action, ...(haltAtPercent === undefined ? {} : { haltAtPercent }) };
  return start(call, payload as RequestOf<"startBulk">["payload"], wait);
}

export async function bulkResults(
  call: Of<{ readonly outcome?: string | undefined; readonly limit?: number | undefined }, { readonly bulk: string }>,
): Promise<void> {
  const { outcome, limit = 200 } = call.flags;
  const request = { params: { id: call.args.bulk }, query: outcome === undefined ? {} : { outcome } };
  const { items, more } = await listAll(gatewayOf(call), "listBulkResults", request as never, limit);
  await printList(
    call.io,
    styleOf(call),
    items as Answer<"listBulkResults">["items"],
    [
      { title: "device", value: (row) => row.device },
      { title: "outcome", value: (row) => row.outcome },
      { title: "task", value: (row) => row.task },
      { title: "why", value: (row) => (row.reason === undefined ? undefined : oneLine(row.reason)) },
    ],
    (row) => row.device,
  );
  if (more) call.io.err(`There are more: --limit ${Math.min(5_000, limit * 4)}\n`);
}

const BULK_VERBS = { pause: "pauseBulk", resume: "resumeBulk", cancel: "cancelBulk" } as const;
const ROLLOUT_VERBS = { pause: "pauseRollout", resume: "resumeRollout", cancel: "cancelRollout" } as const;

export async function steerBulk(
  call: Of<unknown, { readonly bulk: string }>,
  verb: "pause" | "resume" | "cancel",
): Promise<void> {
  const params = { id: call.args.bulk };
  await printOne(call.io, styleOf(call), await gatewayOf(call).call(BULK_VERBS[verb], { params }), bulkText, idOf);
}

interface Staging {
  readonly stage: readonly string[];
  readonly soak?: number | undefined;
  readonly channel?: string | undefined;
  readonly from?: string | undefined;
}

export async function startRollout(call: Of<Selecting & Pace & Staging, { readonly name: string }>): Promise<number> {
  const { stage, soak, channel, from, wait } = call.flags;
  const stages = stage.map((text) => {
    const [, number, percent] = /^([0-9]{1,5})(%?)$/.exec(text) ?? [];
    if (number === undefined) throw usage(`"${text}" is no stage`, "--stage 1 --stage 25%");
    return percent === "%" ? { percent: Number(number) } : { devices: Number(number) };
  });
  const firmware = {
    ...(channel === undefined ? {} : { stage: channel }),
    ...(from === undefined ? {} : { url: from }),
  };
  const payload = {
    name: call.args.name,
    select: selectOf(call.flags),
    firmware,
    ...(stages.length === 0 ? {} : { stages }),
    ...(soak === undefined ? {} : { soakMs: soak * 1_000 }),
    ...paceOf(call.flags),
  } as RequestOf<"startRollout">["payload"];
  const asked = await gatewayOf(call).call("startRollout", { payload });
  const rollout = wait ? await reached(call, "getRollout", asked, ["completed", "cancelled", "halted"]) : asked;
  await printOne(call.io, styleOf(call), rollout, rolloutText, ({ spec }) => spec.name);
  return !wait || rollout.status.state === "completed" ? EXIT.ok : EXIT.failure;
}

export async function steerRollout(
  call: Of<unknown, { readonly rollout: string }>,
  verb: "pause" | "resume" | "cancel",
): Promise<void> {
  const rollout = await gatewayOf(call).call(ROLLOUT_VERBS[verb], { params: { id: call.args.rollout } });
  await printOne(call.io, styleOf(call), rollout, rolloutText, ({ spec }) => spec.name);
}

export async function startScan(
  call: Of<
    {
      readonly site?: string | undefined;
      readonly mdns: boolean;
      readonly adopt: boolean;
      readonly tag: readonly string[];
      readonly wait: boolean;
    },
    { readonly ranges?: readonly string[] }
  >,
): Promise<number> {
  const { site, mdns, adopt, tag, wait } = call.flags;
  const { ranges = [] } = call.args;
  const payload = {
    ...(site === undefined ? {} : { site }),
    ...(ranges.length === 0 ? {} : { ranges }),
    ...(mdns ? { mdns } : {}),
    ...(adopt ? { adopt } : {}),
    ...(tag.length === 0 ? {} : { tags: tag }),
  };
  const asked = await gatewayOf(call).call("startScan", { payload });
  const scan = wait ? await reached(call, "getScan", asked, ["completed", "failed", "cancelled"]) : asked;
  await printOne(call.io, styleOf(call), scan, scanText, idOf);
  return !wait || scan.status.state === "completed" ? EXIT.ok : EXIT.failure;
}

export async function cancelScan(call: Of<unknown, { readonly scan: string }>): Promise<void> {
  const scan = await gatewayOf(call).call("cancelScan", { params: { id: call.args.scan } });
  await printOne(call.io, styleOf(call), scan, scanText, idOf);
}

export async function importFindings(
  call: Of<{ readonly tag: readonly string[] }, { readonly scan: string; readonly macs?: readonly string[] }>,
): Promise<number> {
  const { macs = [] } = call.args;
  const payload = {
    ...(macs.length === 0 ? {} : { macs: macs.map((mac) => mac.replaceAll(/[:.-]/g, "").toUpperCase()) }),
    ...(call.flags.tag.length === 0 ? {} : { tags: call.flags.tag }),
  };
  const { items } = await gatewayOf(call).call("importFindings", { params: { id: call.args.scan }, payload });
  await printList(
    call.io,
    styleOf(call),
    items,
    [
      { title: "mac", value: (row) => row.mac },
      { title: "outcome", value: (row) => row.outcome },
      { title: "device", value: (row) => row.device },
      { title: "why", value: (row) => row.reason },
    ],
    (row) => row.device ?? row.mac,
  );
  return items.some(({ outcome }) => outcome === "refused") ? EXIT.failure : EXIT.ok;
}

const SIMULATOR = fileURLToPath(new URL("../../tests/simulators/shelly/main.ts", import.meta.url));

/** What the simulator says when its devices are up. */
interface Fleet {
  readonly control: string;
  readonly devices: ReadonlyArray<{
    readonly mac: string;
    readonly model: string;
    readonly generation: number;
    readonly url: string;
  }>;
}

export async function simulate(
  call: Of<{ readonly port?: number | undefined }, { readonly count: string }>,
): Promise<number> {
  const { io } = call;
  if (!/^[1-9][0-9]{0,4}$/.test(call.args.count)) throw usage(`"${call.args.count}" is no number of devices`);
  const words = [SIMULATOR, "--devices", call.args.count, "--port", `${call.flags.port ?? 0}`, "--json"];
  const child = spawn(process.execPath, words, { stdio: ["ignore", "pipe", "inherit"] });
  const end = () => child.kill("SIGTERM");
  io.interrupted.addEventListener("abort", end, { once: true });
  const ended = new Promise<number>((resolve, reject) => {
    child.once("error", reject);
    child.once("exit", (code) => resolve(code ?? EXIT.ok));
  });
  for await (const line of createInterface({ input: child.stdout })) {
    const fleet = JSON.parse(line) as Fleet;
    await printList(
      io,
      styleOf(call),
      fleet.devices,
      [
        { title: "mac", value: (row) => row.mac },
        { title: "model", value: (row) => row.model },
        { title: "generation", value: (row) => row.generation },
        { title: "address", value: (row) => row.url },
      ],
      (row) => row.mac,
    );
    const [first] = fleet.devices;
    const { hostname, port } = new URL(first?.url ?? "http://127.0.0.1");
    io.err(
      `They run until Ctrl-C; what happens round them is asked of ${fleet.control}\n` +
        `Next: mill devices add ${first?.mac} --host ${hostname}:${port || 80}\n` +
        `  or: mill devices scan ${hostname}/24:${port || 80} --wait\n`,
    );
    break;
  }
  child.stdout.resume();
  const code = await ended;
  io.interrupted.removeEventListener("abort", end);
  return io.interrupted.aborted ? EXIT.ok : code;
}
