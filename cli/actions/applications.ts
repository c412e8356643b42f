/** Applications: create, change, deploy, take back, stop, scale, delete; and their deployments. */
import { confirm } from "../ask.ts";
import { Failure, usage } from "../failure.ts";
import { type Gateway, gatewayOf } from "../gateway.ts";
import { oneLine } from "../io.ts";
import { facts, printList, printOne } from "../output.ts";
import { styleOf } from "../run.ts";
import { type AnyCall, type Call, EXIT, type None } from "../table.ts";
import type { Answer } from "../typed.ts";
import { addressOf, followApplication, followDeployment, headline } from "./applications-follow.ts";
import { changed, created, type Of, type SpecFlags } from "./applications-spec.ts";
import {
  type Application,
  type Deployment,
  lackText,
  nodeColumns,
  releaseText,
  seenText,
} from "./applications-text.ts";

type Args<K extends string> = { readonly [P in K]: { readonly summary: string } };
type Waiting = Of<"boolean", "wait">;
type Seen = Of<"integer", "seen">;
type AppCall<F> = Call<F & Waiting & Seen, Args<"app">>;

const brief =
  (call: AnyCall) =>
  ({ spec, status }: Application): string =>
    `${spec.name}  ${status.state}  ${addressOf(gatewayOf(call).target, status.host)}\n`;

const print = (call: AnyCall, application: Application) =>
  printOne(call.io, styleOf(call), application, brief(call), ({ spec }) => spec.name);

export async function create(call: Call<SpecFlags & Waiting & Of<"boolean", "deploy">, Args<"name">>): Promise<void> {
  const { args, flags } = call;
  if (flags.wait && !flags.deploy) throw usage("--wait is for what --deploy begins");
  const uploaded = await uploadFor(call, flags.upload, flags.node);
  const payload = await created(call as never, args.name, uploaded);
  const application = await gatewayOf(call).call("createApplication", { payload });
  if (!flags.deploy) {
    await print(call, application);
    call.io.err(`Next: mill apps deploy ${application.spec.name} --wait\n`);
    return;
  }
  const deployment = await gatewayOf(call).call("deployApplication", { params: { id: application.id }, payload: {} });
  await answer(call, deployment, flags.wait);
}

export async function change(call: AppCall<SpecFlags & Of<"strings", "unset" | "remove-domain">>): Promise<void> {
  const { args, flags } = call;
  const gateway = gatewayOf(call);
  const now = await gateway.call("getApplication", { params: { id: args.app } });
  const uploaded = await uploadFor(call, flags.upload, homeOf(now));
  const less = { unset: flags.unset, withoutDomains: flags["remove-domain"], uploaded };
  const payload = await changed(call as never, now.spec, less);
  if (Object.keys(payload).length === 0) throw usage("Nothing is to be changed", "Say what: --ref, --env, --domain …");
  // What was read is what was changed: somebody else's change of the same moment is not written over.
  const seen = flags.seen ?? now.generation;
  const application = await gateway.call("changeApplication", { params: { id: args.app }, seen, payload });
  await print(call, application);
  if (application.status.changed && application.status.live) {
    call.io.err(`It is live with the next deployment: mill apps deploy ${application.spec.name} --wait\n`);
  }
}

/** The deployment that was asked for: followed, or named. */
async function answer(call: AnyCall, deployment: Deployment, wait: boolean): Promise<void> {
  if (wait) return void (await followDeployment(call, deployment.id));
  await printOne(
    call.io,
    styleOf(call),
    deployment,
    (made) => `${headline(made)}\n`,
    ({ id }) => id,
  );
  call.io.err(`Follow it: mill deployments watch ${deployment.id}\n`);
}

const homeOf = ({ spec, status }: Application): string | undefined => status.node ?? spec.node;

/** Packs and sends what `--upload` names. @returns the id of the upload */
async function uploadFor(
  call: AnyCall,
  path: string | undefined,
  node: string | undefined,
): Promise<string | undefined> {
  if (path === undefined) return undefined;
  const { uploadPath } = await import("../upload.ts");
  return uploadPath(gatewayOf(call), call.io, path, node);
}

export async function deploy(call: AppCall<Of<"string", "ref" | "upload">>): Promise<void> {
  const { args, flags } = call;
  const gateway = gatewayOf(call);
  if (flags.upload !== undefined) {
    if (flags.ref !== undefined) throw usage("--upload and --ref exclude each other");
    const now = await gateway.call("getApplication", { params: { id: args.app } });
    const uploaded = (await uploadFor(call, flags.upload, homeOf(now)))!;
    const payload = { source: { kind: "upload" as const, upload: uploaded } };
    await gateway.call("changeApplication", { params: { id: args.app }, seen: flags.seen ?? now.generation, payload });
  }
  const payload = flags.ref === undefined ? {} : { ref: flags.ref };
  const seen = flags.upload === undefined ? flags.seen : undefined;
  await answer(call, await gateway.call("deployApplication", { params: { id: args.app }, seen, payload }), flags.wait);
}

export async function restart(call: AppCall<None>): Promise<void> {
  const { args, flags } = call;
  const request = { params: { id: args.app }, seen: flags.seen };
  await answer(call, await gatewayOf(call).call("restartApplication", request), flags.wait);
}

type Plan = Answer<"planRollback">;

const planText = ({ to, from, changes }: Plan): string => {
  const head = facts([
    ["from", releaseText(from)],
    ["to", releaseText(to)],
  ]);
  const line = (sign: string, value: unknown) =>
    value === undefined ? "" : `  ${sign} ${oneLine(typeof value === "string" ? value : JSON.stringify(value))}\n`;
  const changed = changes.map(
    ({ pointer, from: was, to: is }) => `${oneLine(pointer)}\n${line("-", was)}${line("+", is)}`,
  );
  return changes.length === 0 ? `${head}configuration  the same\n` : `${head}\n${changed.join("")}`;
};

/** What is there, by the word of the node on which it lives. */
export async function seen(call: Call<None, Args<"app">>): Promise<void> {
  const found = await gatewayOf(call).call("seeApplication", { params: { id: call.args.app } });
  const style = styleOf(call);
  await printOne(
    call.io,
    style,
    found,
    (shown) => seenText(shown, style),
    ({ route }) => route?.deployment ?? "",
  );
}

/** A kept release by id, or by the number of its deployment. */
async function releaseNamed(gateway: Gateway, app: string, word: string): Promise<string> {
  if (!/^\d{1,9}$/.test(word)) return word;
  const { status } = await gateway.call("getApplication", { params: { id: app } });
  const found = status.releases.find(({ seq }) => seq === Number(word));
  if (found !== undefined) return found.deployment;
  const kept = status.releases.map(({ seq }) => seq).join(", ");
  throw new Failure("release-not-kept", EXIT.refused, `No release of deployment ${word} is kept`, {
    fix: kept === "" ? "None is: deploy it first" : `Kept are those of: ${kept}`,
  });
}

export async function rollback(call: AppCall<Of<"string", "to"> & Of<"boolean", "plan">>): Promise<void> {
  const { args, flags } = call;
  const gateway = gatewayOf(call);
  const params = { id: args.app };
  const to = flags.to === undefined ? {} : { to: await releaseNamed(gateway, args.app, flags.to) };
  if (flags.plan) {
    const plan = await gateway.call("planRollback", { params, query: to });
    return printOne(call.io, styleOf(call), plan, planText, (shown) => shown.to.deployment);
  }
  const deployment = await gateway.call("rollBackApplication", { params, seen: flags.seen, payload: to });
  await answer(call, deployment, flags.wait);
}

/** Until what is there is what is wanted; one that was never deployed has nothing to be. */
const isSettled = ({ spec, status }: Application): boolean =>
  status.live === undefined ||
  (status.settled.wanted === spec.wanted &&
    (spec.wanted === "stopped" || spec.runtime === undefined || status.settled.instances === spec.runtime.instances));

async function settle(call: AnyCall, application: Application, wait: boolean): Promise<void> {
  if (!wait) return print(call, application);
  const settled = await followApplication(call, application.id, isSettled);
  if (settled === undefined) throw new Failure("gone", EXIT.notFound, `${application.spec.name} is gone`);
  await print(call, settled);
}

export async function start(call: AppCall<None>): Promise<void> {
  const { args, flags } = call;
  const request = { params: { id: args.app }, seen: flags.seen };
  await settle(call, await gatewayOf(call).call("startApplication", request), flags.wait);
}

export async function stop(call: AppCall<None>): Promise<void> {
  const { args, flags } = call;
  const request = { params: { id: args.app }, seen: flags.seen };
  await settle(call, await gatewayOf(call).call("stopApplication", request), flags.wait);
}

export async function scale(call: Call<Waiting & Seen, Args<"app" | "instances">>): Promise<void> {
  const { args, flags } = call;
  if (!/^\d{1,2}$/.test(args.instances))
    throw usage(`"${args.instances}" is no number of instances`, "1, 2, 3, 4, 6 or 12");
  const payload = { instances: Number(args.instances) };
  const request = { params: { id: args.app }, seen: flags.seen, payload };
  await settle(call, await gatewayOf(call).call("scaleApplication", request), flags.wait);
}

export async function remove(call: AppCall<None>): Promise<void> {
  const { args, flags } = call;
  await confirm(call, `Delete the application ${args.app} with all that runs of it`, args.app);
  const application = await gatewayOf(call).call("deleteApplication", { params: { id: args.app }, seen: flags.seen });
  if (flags.wait) await followApplication(call, application.id, () => false);
  const done = flags.wait ? "Deleted" : "Deleting";
  call.io.err(`${done} ${args.app}; \`mill history application ${application.id}\` still tells of it\n`);
}

export async function cancel(call: Call<Waiting & Of<"string", "reason">, Args<"deployment">>): Promise<void> {
  const { args, flags } = call;
  const payload = flags.reason === undefined ? {} : { reason: flags.reason };
  const gateway = gatewayOf(call);
  const deployment = await gateway.call("cancelDeployment", { params: { id: args.deployment }, payload });
  if (!flags.wait) return answer(call, deployment, false);
  try {
    await followDeployment(call, deployment.id);
  } catch (error) {
    // That it does not succeed is what was asked for.
    const { status } = await gateway.call("getDeployment", { params: { id: deployment.id } });
    if (error instanceof Failure && ["cancelled", "rolledBack"].includes(status.state)) return;
    throw error;
  }
}

/** A deployment by id; of an application the one under way, else the last that waits or is live. */
export async function watch(call: Call<None, Args<"deployment">>): Promise<void> {
  const { args } = call;
  const gateway = gatewayOf(call);
  if (args.deployment.startsWith("dep_")) return void (await followDeployment(call, args.deployment));
  const { status, spec } = await gateway.call("getApplication", { params: { id: args.deployment } });
  const id = status.active ?? status.queue.at(-1) ?? status.problem?.deployment ?? status.live?.deployment;
  if (id === undefined) {
    throw new Failure("not-found", EXIT.notFound, `${spec.name} was never deployed`, {
      fix: `mill apps deploy ${spec.name} --wait`,
    });
  }
  await followDeployment(call, id, status.host);
}

export async function nodes(call: AnyCall): Promise<void> {
  const { items } = await gatewayOf(call).call("listNodes", {});
  const style = styleOf(call);
  await printList(call.io, style, items, nodeColumns, ({ name }) => name);
  if (style.format === "table") await call.io.out(lackText(items));
  if (items.length === 0) call.io.err("No node has a worker now: `mill status` says whether the orchestrator runs\n");
}
