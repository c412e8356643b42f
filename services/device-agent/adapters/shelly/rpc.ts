/** RPC of Gen2+ devices: what a frame holds, and what the codes of its errors mean. */
import type { Heard } from "./authentication.ts";
import { challengeOfMessage } from "./digest.ts";
import { type DeviceFailure, type DeviceFailureKind, failure, printable } from "./failures.ts";
import { isObject, type Json, type JsonObject, numberAt, textAt } from "./json.ts";

export interface RpcError {
  readonly code: number;
  /** As the device says it; of 401 it holds the challenge. */
  readonly message: string;
}

/** A call and its outcome. `null` is a result. */
export type RpcOutcome = { readonly result: Json } | { readonly error: RpcError };

/** Never wanted with a login, whatever is set. */
export const isOpen = (method: string): boolean => /^shelly\.getdeviceinfo$/i.test(method);

/** Changes nothing. */
export const isRead = (method: string): boolean => /\.(get|list)/i.test(method);

/** @throws DeviceFailure garbled, when it is neither */
export function outcomeOf(frame: JsonObject): RpcOutcome {
  const { error } = frame;
  if (isObject(error)) {
    const code = numberAt(error, "code");
    if (code === undefined) throw failure("garbled", "Its error has no code.");
    return { error: { code, message: textAt(error, "message") ?? "" } };
  }
  if (Object.hasOwn(frame, "result")) return { result: frame.result! };
  throw failure("garbled", "Its answer has neither a result nor an error.");
}

/** How the device took the proof, as its outcome says. @throws DeviceFailure garbled */
export function heardOf(outcome: RpcOutcome): Heard {
  if (!("error" in outcome)) return { heard: "accepted" };
  const { code, message } = outcome.error;
  if (code === 401) return { heard: "challenge", challenge: challengeOfMessage(message) };
  if (code === 429) return { heard: "too-many", what: tooMany(message) };
  return { heard: "accepted" };
}

/** 429 means two things, told apart by its words alone. */
export const tooMany = (message: string): "requests" | "failures" =>
  /failed auth/i.test(message) ? "failures" : "requests";

const KINDS: ReadonlyMap<number, DeviceFailureKind> = new Map([
  [-103, "invalid-argument"],
  [-104, "timeout"],
  [-105, "not-found"],
  [-108, "refused"],
  [-109, "refused"],
  [-114, "refused"],
  [400, "invalid-argument"],
  [401, "wrong-credentials"],
  [403, "refused"],
  [404, "not-found"],
  [429, "too-busy"],
  [503, "too-busy"],
]);

/** @param method for the sentence */
export function failureOfRpc({ code, message }: RpcError, method: string): DeviceFailure {
  const said = printable(message).slice(0, 200);
  const kind = KINDS.get(code) ?? "device-error";
  const reason = `${method}: ${said === "" ? "an error" : said} (${code})`;
  return failure(kind, reason, { code, maybeDone: kind === "device-error" || kind === "timeout" });
}

/** @throws DeviceFailure for an error */
export function resultOf(outcome: RpcOutcome, method: string): Json {
  if ("error" in outcome) throw failureOfRpc(outcome.error, method);
  return outcome.result;
}
