/** Configurations of devices in Git. */
import { confirm } from "../ask.ts";
import { Failure, usage } from "../failure.ts";
import { gatewayOf } from "../gateway.ts";
import { oneLine } from "../io.ts";
import { facts, printOne } from "../output.ts";
import { styleOf } from "../run.ts";
import { type AnyCall, EXIT } from "../table.ts";
import type { Answer, RequestOf } from "../typed.ts";
import { selectionOf } from "./device-sets.ts";

type Sync = Answer<"getSync">;
interface Flags {
  readonly title?: string | undefined;
  readonly branch?: string | undefined;
  readonly folder?: string | undefined;
  readonly site?: string | undefined;
  readonly where?: readonly string[];
  readonly direction?: string | undefined;
  readonly apply?: string | undefined;
  readonly token?: string | undefined;
  readonly key?: string | undefined;
  readonly seen?: number | undefined;
}
type Of<A = { readonly sync: string }> = AnyCall & { readonly flags: Flags; readonly args: A };

export function syncText({ id, spec, status, generation }: Sync): string {
  const { plan, failure, result } = status;
  const steps = (plan?.steps ?? []).map(
    ({ step, name, file, fields }) =>
      `  ${step} ${oneLine(name)}  ${oneLine(file ?? "")}  ${oneLine(fields.join(", "))}\n`,
  );
  const faults = (failure?.faults ?? []).map(
    ({ file, line, place, detail, fix }) =>
      `  ${oneLine(file)}${line === undefined ? "" : `:${line}`}  ${oneLine(`${place} ${detail}. ${fix}`)}\n`,
  );
  return [
    facts([
      ["name", spec.name],
      ["title", spec.title],
      ["id", id],
      ["repository", Object.values(spec.repository).join("")],
      ["branch", spec.branch],
      ["folder", spec.folder],
      ["way", `${spec.direction}${spec.direction === "out" ? "" : `, ${spec.apply}`}`],
      ["devices", spec.select === undefined ? "all" : JSON.stringify(spec.select)],
      ["state", status.state],
      ["run", status.run],
      ["commit", status.commit],
      ["written", result?.written],
      ["removed", result?.removed],
      ["changed here", result?.applied],
      ["why", failure === undefined ? undefined : `${failure.code}: ${oneLine(failure.message)}`],
      ["what to do", failure === undefined ? undefined : oneLine(failure.fix)],
      ["generation", generation],
    ]),
    ...(plan === undefined ? [] : [`to be approved, of ${plan.commit}\n${steps.join("")}`]),
    ...(faults.length === 0 ? [] : [`wrong in files\n${faults.join("")}`]),
  ].join("\n");
}

const print = (call: AnyCall, sync: Sync) => printOne(call.io, styleOf(call), sync, syncText, ({ spec }) => spec.name);

function specOf({ where = [], token, key, seen: _, title, branch, folder, site, direction, apply }: Flags) {
  if (token !== undefined && key !== undefined) throw usage("Either --token or --key", "mill devices syncs --help");
  const secret = token ?? key;
  const given = Object.entries({ title, branch, folder, site, direction, apply }).filter(
    ([, value]) => value !== undefined,
  );
  return {
    ...Object.fromEntries(given),
    ...(where.length === 0 ? {} : { select: selectionOf(where) }),
    ...(secret === undefined ? {} : { credentials: { secret, kind: token === undefined ? "ssh-key" : "token" } }),
  };
}

export async function createSync(call: Of<{ readonly name: string; readonly repository: string }>): Promise<void> {
  const { name, repository } = call.args;
  const place = repository.startsWith("/") ? { path: repository } : { url: repository };
  const payload = { name, repository: place, ...specOf(call.flags) } as RequestOf<"createSync">["payload"];
  await print(call, await gatewayOf(call).call("createSync", { payload } as RequestOf<"createSync">));
}

export async function changeSync(call: Of): Promise<void> {
  const payload = specOf(call.flags);
  if (Object.keys(payload).length === 0) throw usage("Nothing is to be changed", "mill devices syncs change --help");
  const request = { params: { id: call.args.sync }, seen: call.flags.seen, payload } as RequestOf<"changeSync">;
  await print(call, await gatewayOf(call).call("changeSync", request));
}

export async function deleteSync(call: Of): Promise<void> {
  const { sync } = call.args;
  await confirm(call, `Keep configurations in the repository of "${sync}" no more?`, sync);
  await gatewayOf(call).call("deleteSync", { params: { id: sync }, seen: call.flags.seen });
}

const WAIT_MS = 30_000;
/** A run has its own end: an agent gives it up. What takes longer waits for an agent that is not there. */
const MOST_MS = 900_000;

/** Until its run is over; a run that failed ends the command with a code of its own. */
async function follow(call: AnyCall, started: Sync): Promise<number> {
  const gateway = gatewayOf(call);
  const until = Date.now() + MOST_MS;
  let now = started;
  while (now.status.state === "running") {
    if (Date.now() > until) {
      const fix = `It goes on when an agent of ${now.spec.site} is there: mill devices syncs show ${now.spec.name}`;
      throw new Failure("timeout", EXIT.timeout, `${now.spec.name} still runs`, { fix });
    }
    now = await gateway.call("getSync", { params: { id: started.id }, query: { wait: "terminal", timeout: WAIT_MS } });
  }
  await print(call, now);
  return now.status.state === "failed" ? EXIT.failure : EXIT.ok;
}

export async function runSync(call: Of): Promise<number> {
  return follow(call, await gatewayOf(call).call("runSync", { params: { id: call.args.sync } }));
}

export async function approveSync(call: Of<{ readonly sync: string; readonly commit: string }>): Promise<number> {
  const { sync, commit } = call.args;
  return follow(call, await gatewayOf(call).call("approveSync", { params: { id: sync }, payload: { commit } }));
}
