/** Tasks of devices: asked for, waited for, looked at, cancelled. */
import { secretValue } from "../ask.ts";
import { Failure, usage } from "../failure.ts";
import { gatewayOf } from "../gateway.ts";
import { oneLine } from "../io.ts";
import { facts, printOne } from "../output.ts";
import { styleOf } from "../run.ts";
import { type AnyCall, EXIT } from "../table.ts";
import type { Answer, RequestOf } from "../typed.ts";
import { planText } from "./devices.ts";

type Task = Answer<"getDeviceTask">;
interface Tasked {
  readonly wait: boolean;
  readonly expires?: number | undefined;
}
type Of<F = Tasked, A = { readonly device: string }> = AnyCall & { readonly flags: F; readonly args: A };
type Asking = "applyDevice" | "rebootDevice" | "readDevice" | "updateFirmware" | "actOnDevice" | "setAuthentication";

export function taskText({ id, spec, status, requestedBy, createdAt }: Task): string {
  const { failure, waiting, plan } = status;
  const steps = status.steps.map(({ step, state, attempt, error }) => {
    const said = error === undefined || state === "completed" ? "" : `  ${oneLine(error.message)}`;
    return `  ${step}  ${state}${attempt > 1 ? `, attempt ${attempt}` : ""}${said}\n`;
  });
  return [
    facts([
      ["task", id],
      ["of", spec.name],
      ["kind", spec.asked.kind],
      ["state", status.state],
      ["waits", waiting === undefined ? undefined : oneLine(waiting.reason)],
      ["failed", failure === undefined ? undefined : oneLine(`${failure.code}: ${failure.message}`)],
      ["fix", failure === undefined ? undefined : oneLine(failure.fix)],
      ["taken back", status.undone === "nothing" ? undefined : status.undone],
      ["asked by", requestedBy.name],
      ["asked", createdAt],
      ["ended", status.finishedAt],
      ["expires", status.finishedAt === undefined ? spec.expiresAt : undefined],
    ]),
    ...(steps.length === 0 ? [] : [`steps\n${steps.join("")}`]),
    ...(plan === undefined ? [] : [planText(plan)]),
  ].join("\n");
}

const print = (call: AnyCall, task: Task) => printOne(call.io, styleOf(call), task, taskText, ({ id }) => id);

const OVER = ["succeeded", "failed", "cancelled", "expired"];
/** Milliseconds of one request that waits. */
const WAIT_MS = 20_000;

/** @throws Failure 124 when it has not ended within --timeout (default ten minutes) */
async function ended(call: AnyCall, task: Task): Promise<Task> {
  const gateway = gatewayOf(call);
  const seconds = call.flags.timeout ?? 600;
  const until = performance.now() + seconds * 1_000;
  let now = task;
  while (!OVER.includes(now.status.state)) {
    const left = until - performance.now();
    if (left <= 0) {
      throw new Failure("timeout", EXIT.timeout, `${task.id} is ${now.status.state} after ${seconds} s`, {
        ...(now.status.waiting === undefined ? {} : { why: now.status.waiting.reason }),
        fix: `It goes on: mill devices tasks show ${task.id}`,
      });
    }
    const timeout = Math.ceil(Math.min(WAIT_MS, left));
    now = await gateway.call("getDeviceTask", { params: { id: task.id }, query: { wait: "terminal", timeout } });
  }
  return now;
}

async function ask<N extends Asking>(call: Of, operation: N, payload: object): Promise<number> {
  const { expires, wait } = call.flags;
  const whole = { ...payload, ...(expires === undefined ? {} : { expiresInMs: expires * 1_000 }) };
  const request = { params: { id: call.args.device }, payload: whole };
  const asked = (await gatewayOf(call).callAny(operation, request)) as Task;
  const task = wait ? await ended(call, asked) : asked;
  await print(call, task);
  return !wait || task.status.state === "succeeded" ? EXIT.ok : EXIT.failure;
}

export const task = (
  call: Of<Tasked & { readonly "dry-run"?: boolean }>,
  operation: "applyDevice" | "rebootDevice" | "readDevice",
): Promise<number> => ask(call, operation, call.flags["dry-run"] === true ? { dryRun: true } : {});

export function updateFirmware(
  call: Of<Tasked & { readonly stage?: string | undefined; readonly from?: string | undefined }>,
): Promise<number> {
  const { stage, from } = call.flags;
  if (stage !== undefined && from !== undefined) throw usage("Only one of --stage and --from");
  return ask(call, "updateFirmware", {
    ...(stage === undefined ? {} : { stage }),
    ...(from === undefined ? {} : { url: from }),
  });
}

/** Flags of an action, and what the API calls them. */
const PARAMETERS = {
  after: "afterS",
  position: "position",
  slat: "slat",
  brightness: "brightness",
  transition: "transitionMs",
  temperature: "temperature",
  red: "red",
  green: "green",
  blue: "blue",
  white: "white",
  target: "target",
} as const;

export function act(
  call: Of<
    Tasked & Readonly<Record<keyof typeof PARAMETERS, string | number | undefined>>,
    { readonly device: string; readonly component: string; readonly action: string }
  >,
): Promise<number> {
  const { component, action } = call.args;
  const params = Object.entries(PARAMETERS).flatMap(([flag, name]) => {
    const value = call.flags[flag as keyof typeof PARAMETERS];
    if (value === undefined) return [];
    const number = Number(value);
    if (!Number.isFinite(number)) throw usage(`--${flag} is no number`);
    return [[name, number] as const];
  });
  const given = params.length === 0 ? {} : { params: Object.fromEntries(params) };
  return ask(call, "actOnDevice", { component, action, ...given });
}

export async function setPassword(call: Of<Tasked & { readonly none: boolean }>): Promise<number> {
  const password = call.flags.none ? null : await secretValue(call, `New password of ${call.args.device}`, false);
  return ask(call, "setAuthentication", { password });
}

export async function cancelTask(
  call: Of<{ readonly reason?: string | undefined }, { readonly task: string }>,
): Promise<void> {
  const { reason } = call.flags;
  const payload: RequestOf<"cancelDeviceTask">["payload"] = reason === undefined ? {} : { reason };
  await print(call, await gatewayOf(call).call("cancelDeviceTask", { params: { id: call.args.task }, payload }));
}
