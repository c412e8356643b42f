/** What is asked of single devices: tasks, and questions that only an agent of their site can answer. */
import type { AskDeclaration } from "@millrace/contracts/asks.ts";
import {
  type AskedOfDevice,
  deviceCapabilities,
  devicePlan,
  deviceStatus,
  holderOfSite,
} from "@millrace/contracts/devices/asks.ts";
import type { Asked as TaskAsked } from "@millrace/contracts/devices/task-parts.ts";
import { Refused } from "@millrace/contracts/problems.ts";
import type { Refusal } from "@millrace/domain/decider.ts";
import { device } from "@millrace/domain/devices/device.ts";
import type { Credentials } from "@millrace/domain/devices/device-state.ts";
import { cancelTask, requestTask } from "@millrace/domain/devices/request.ts";
import { task } from "@millrace/domain/devices/task.ts";
import { AskRefused, AskUnavailable, ask } from "@millrace/eventlog/asks.ts";
import { accepted } from "../answers.ts";
import type { Asked } from "../asked.ts";
import { carryOutAll, type Handle, handle, json, type Request, type Together } from "../command.ts";
import { fail, problemOfRefusal, unavailable } from "../failures.ts";
import { type Gateway, loadOwn } from "../gateway.ts";
import { sealCredentials } from "./device-credentials.ts";

const referenceOf = (request: Request): string => (request.params as { id: string }).id;

/** Only says that it was decided on what is no more. */
export const isOvertaken = (refusal: Refusal): boolean => refusal.refused === "rule" && refusal.rule === "overtaken";

/** As lists show it. */
// biome-ignore lint/suspicious/noExplicitAny: as the kind represents it
export const listedTask = ({ status, ...entity }: any): unknown => {
  const { steps: _, plan: __, ...listed } = status;
  return { ...entity, status: listed };
};

interface Payload {
  readonly expiresInMs?: number | undefined;
}

async function askFor(
  gateway: Gateway,
  request: Request & { readonly payload: Payload },
  caller: Asked,
  id: string,
  { asked, credentials }: { readonly asked: TaskAsked; readonly credentials?: Credentials | undefined },
) {
  const plan: Together["plan"] = async ({ makeId, isRepeat }) => {
    const loaded = await loadOwn(gateway, device, caller, id);
    const made = makeId(task.prefix);
    if (isRepeat(loaded)) {
      // Only to be told apart: the first try's own commands are in the log.
      return [device, task].map((kind) => ({ kind, id: kind === device ? id : made, command: { do: "cancel" } }));
    }
    const { expiresInMs } = request.payload;
    const parts = requestTask(loaded.state, { task: made, asked, expiresInMs, credentials });
    return "refused" in parts ? fail(problemOfRefusal(parts)) : parts;
  };
  const target = `${caller.route} ${id}`;
  const { loaded, headers } = await carryOutAll(gateway, request, caller, { target, plan, isOvertaken });
  return accepted(task, loaded[1]!, headers);
}

/** Asks for a task: 202, with the task. @param asked what of, by the request's body */
export const asking = <R extends Request & { readonly payload: Payload }>(
  gateway: Gateway,
  asked: (payload: R["payload"]) => TaskAsked,
): Handle<R> =>
  handle(gateway, async (request, caller) => {
    const { id } = await loadOwn(gateway, device, caller, referenceOf(request));
    return askFor(gateway, request, caller, id, { asked: asked(request.payload) });
  });

export const authenticating = <
  R extends Request & { readonly payload: Payload & { readonly password: string | null } },
>(
  gateway: Gateway,
): Handle<R> =>
  handle(gateway, async (request, caller) => {
    const { state } = await loadOwn(gateway, device, caller, referenceOf(request));
    const { password } = request.payload;
    if (password !== null && state.identity === null) fail(problemOfRefusal(UNIDENTIFIED));
    const credentials = password === null ? undefined : await sealCredentials(gateway, caller, state, { password });
    const asked = { kind: "authentication", scheme: credentials?.scheme ?? "none" } as const;
    return askFor(gateway, request, caller, state.id, { asked, credentials });
  });

const UNIDENTIFIED: Refusal = {
  refused: "rule",
  rule: "not-identified",
  reason: "Nobody has talked to the device yet, so it is not known what kind of password it takes.",
  fix: "Wait until it was reached, or have it read.",
};

export const cancelHandler = <R extends Request & { readonly payload: { readonly reason?: string } }>(
  gateway: Gateway,
): Handle<R> =>
  handle(gateway, async (request, caller) => {
    const { id } = await loadOwn(gateway, task, caller, referenceOf(request));
    const plan: Together["plan"] = async ({ isRepeat }) => {
      const loaded = await loadOwn(gateway, task, caller, id);
      const parts = cancelTask(loaded.state, request.payload.reason);
      // The task remembers the command, whether it waited then or ran.
      return isRepeat(loaded) ? parts.slice(0, 1) : parts;
    };
    const target = `${caller.route} ${id}`;
    const { loaded, headers } = await carryOutAll(gateway, request, caller, { target, plan, isOvertaken });
    return accepted(task, loaded[0]!, headers);
  });

/** Asks an agent of the device's site. @throws Failed (unavailable where none is there, refused where the device does not answer) */
async function askAgent<A>(
  gateway: Gateway,
  caller: Asked,
  reference: string,
  declaration: AskDeclaration<AskedOfDevice, A>,
): Promise<A> {
  const { id, state } = await loadOwn(gateway, device, caller, reference);
  const what = `site ${state.site}`;
  try {
    const question = { organisation: caller.organisation!.id, device: id };
    return await ask(gateway.log.nats, declaration, holderOfSite(state.site), question, what);
  } catch (error) {
    if (error instanceof AskRefused) return fail(error.problem);
    if (!(error instanceof AskUnavailable)) throw error;
    const none = `No agent of the site ${state.site} answers.`;
    const detail = error.reason === "no-holder" ? none : `The agent's answer is ${error.reason}.`;
    return fail(unavailable(what, detail, 5));
  }
}

interface CouldNot {
  readonly failed: { readonly code: string; readonly message: string; readonly fix: string };
}

const told = <A extends object>(answer: A | CouldNot): A => {
  if (!("failed" in answer)) return answer;
  const { code, message, fix } = answer.failed;
  const rule = code.toLowerCase().replaceAll("_", "-");
  return fail(new Refused({ rule, reason: message, detail: message, fix }));
};

const toldBy =
  <A extends object>(declaration: AskDeclaration<AskedOfDevice, A | CouldNot>) =>
  <R extends Request>(gateway: Gateway): Handle<R> =>
    handle(gateway, async (request, caller) =>
      json(told<A>(await askAgent(gateway, caller, referenceOf(request), declaration))),
    );

export const planHandler = toldBy(devicePlan);
export const liveHandler = toldBy(deviceStatus);
export const capabilitiesHandler = toldBy(deviceCapabilities);
