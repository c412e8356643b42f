/** What is uploaded for builds, by flat-manager's API: on to the node that the repository lies on as it comes, however much and however slowly. */
import type { Caller as Sender } from "../bytes.ts";
import { problemOfFault } from "../bytes.ts";
import type { Answered } from "../publishing/uploads.ts";
import { type Answer, away, generic, notFound, refusedOf } from "./answers.ts";
import { packedOf } from "./body.ts";
import { allowedBuild, type Call } from "./call.ts";
import { mustBeUploading } from "./states.ts";

/** In whose name it goes to the node. */
export const senderOf = ({ asked, caller }: Call): Sender => ({
  requestId: asked.requestId,
  token: { id: caller.actor.id },
  organisation: { id: caller.organisation.id },
});

export async function missingObjects(call: Call): Promise<Answer> {
  const { state } = await allowedBuild(call, ["upload"]);
  mustBeUploading(state);
  // Unpacked where it is looked at, with a bound.
  const asked = await packedOf(call.request);
  const encoding = call.request.headers["content-encoding"];
  return { body: answered(await call.uploads.missing(senderOf(call), state, asked, encoding)) };
}

export async function upload(call: Call): Promise<Answer> {
  const { state } = await allowedBuild(call, ["upload"]);
  mustBeUploading(state);
  call.callers.mayChange(call.caller);
  return { body: answered(await call.uploads.send(senderOf(call), state, call.request)) };
}

/** What the node answers. @throws FlatRefused for what it says no with */
export function answered<T>(answer: Answered<T>): T {
  if ("ok" in answer) return answer.ok;
  const { node, fault } = answer;
  if (fault.fault === "unknown") throw notFound();
  if (fault.fault !== "refused") {
    const problem = problemOfFault(node, { ...fault });
    throw problem === undefined ? away(`The node ${node} cannot take it at this moment`) : refusedOf(problem);
  }
  const { code, subject = "", reason = "It was not taken", fix = "" } = fault;
  throw generic(`${subject === "" ? reason : `${reason}: ${subject}`}. ${fix}`, code === "too-large" ? 413 : 400);
}
