/** Calls to a Gen2+ device over HTTP: `POST /rpc`, one frame and its answer. */
import type { Heard } from "./authentication.ts";
import { authorizationOf, challengeOfHeader, type Proof } from "./digest.ts";
import { failure, printable } from "./failures.ts";
import type { DeviceHttp, HttpAnswer } from "./http.ts";
import { isObject, type Json, type JsonObject, objectOf, parseJson } from "./json.ts";
import type { Taken } from "./login.ts";
import { isRead, outcomeOf, type RpcOutcome, tooMany } from "./rpc.ts";

const PATH = "/rpc";
let calls = 0;

export interface RpcCall {
  readonly method: string;
  readonly params?: Json;
  readonly timeoutMs?: number;
}

/** One sending, with or without a proof. @throws DeviceFailure */
export async function callOverHttp(
  http: DeviceHttp,
  { method, params, timeoutMs }: RpcCall,
  proof: Proof | undefined,
): Promise<Taken<RpcOutcome>> {
  calls = (calls % 1_000_000_000) + 1;
  const id = calls;
  const answer = await http.request({
    method: "POST",
    path: PATH,
    again: proof === undefined && isRead(method),
    headers: {
      "content-type": "application/json",
      ...(proof === undefined ? {} : { authorization: authorizationOf(proof, "POST", PATH) }),
    },
    body: JSON.stringify({ id, method, ...(params === undefined ? {} : { params }) }),
    ...(timeoutMs === undefined ? {} : { timeoutMs }),
  });
  const refused = refusalOf(answer);
  if (refused !== undefined) return { heard: refused, value: { error: { code: answer.status, message: "" } } };
  return { heard: { heard: "accepted" }, value: outcomeOfAnswer(answer, id) };
}

/** What the status says of the login. @throws DeviceFailure too-busy, garbled */
function refusalOf({ status, headers, body }: HttpAnswer): Heard | undefined {
  if (status === 401) {
    const challenge = challengeOfHeader(headers["www-authenticate"]);
    if (challenge === undefined) throw failure("garbled", "It wants a login, and does not say how.", { code: 401 });
    return { heard: "challenge", challenge };
  }
  if (status === 429) {
    const seconds = Number(headers["retry-after"]);
    const retryAfterMs = Number.isFinite(seconds) && seconds > 0 ? { retryAfterMs: seconds * 1_000 } : {};
    return { heard: "too-many", what: tooMany(body.slice(0, 500)), ...retryAfterMs };
  }
  if (status === 503) throw failure("too-busy", "All of its channels are taken.", { code: 503 });
  return undefined;
}

function outcomeOfAnswer({ status, body }: HttpAnswer, id: number): RpcOutcome {
  let frame: JsonObject;
  try {
    frame = objectOf(parseJson(body), "Its answer");
  } catch (error) {
    // Without a frame the status is all there is.
    if (status >= 400) return { error: { code: status, message: printable(body).slice(0, 200) } };
    throw error;
  }
  if (!isObject(frame.error) && !("result" in frame) && typeof frame.code === "number") {
    return { error: { code: frame.code, message: typeof frame.message === "string" ? frame.message : "" } };
  }
  if (frame.id !== undefined && frame.id !== id) throw failure("garbled", "It answered another call.");
  return outcomeOf(frame);
}
