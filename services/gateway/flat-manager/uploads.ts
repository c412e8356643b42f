/** What is uploaded for builds, by flat-manager's API: on to the node that the repository lies on as it comes, however much and however slowly. */
import type { IncomingMessage } from "node:http";
import type { BytesAct } from "@millrace/eventlog/bytes-ticket.ts";
import { hop, problemOfFault } from "../bytes.ts";
import { type Answer, away, type FlatRefused, generic, notFound, refusedOf } from "./answers.ts";
import { mustBeUploading } from "./builds.ts";
import { allowedBuild, type Call, type FoundBuild } from "./call.ts";

/** Names of what is missing, or sizes: of as much as a question may have. */
const ANSWER_MOST = 16 * 1024 * 1024;

export async function missingObjects(call: Call): Promise<Answer> {
  const found = await allowedBuild(call, ["upload"]);
  mustBeUploading(found.state);
  return { body: await sendOn(call, found, "missing") };
}

export async function upload(call: Call): Promise<Answer> {
  const found = await allowedBuild(call, ["upload"]);
  mustBeUploading(found.state);
  call.callers.mayChange(call.caller);
  return { body: await sendOn(call, found, "upload") };
}

/** @returns what the node answers @throws FlatRefused */
async function sendOn(call: Call, { id, repository }: FoundBuild, act: BytesAct): Promise<unknown> {
  const { gateway, holders, request, caller, asked } = call;
  const { node } = repository.state;
  if (node === null) throw away("The repository is being made; its publisher has not begun");
  const { "content-type": type, "content-encoding": encoding } = request.headers;
  const who = { requestId: asked.requestId, token: { id: caller.actor.id }, organisation: caller.organisation };
  const answer = await hop(gateway, holders, await holders.of(node), who, {
    act,
    resource: id,
    headers: { "content-type": type, "content-encoding": encoding },
    body: request,
  });
  const body = await readAnswer(answer);
  if (answer.statusCode === 200) return body;
  throw refusedByNode(node, body as Readonly<Record<string, unknown>>);
}

async function readAnswer(answer: IncomingMessage): Promise<unknown> {
  const pieces: Buffer[] = [];
  let size = 0;
  for await (const piece of answer as AsyncIterable<Buffer>) {
    size += piece.length;
    if (size > ANSWER_MOST) throw away("The node's answer is too large");
    pieces.push(piece);
  }
  try {
    return JSON.parse(Buffer.concat(pieces).toString("utf8"));
  } catch {
    return {};
  }
}

function refusedByNode(node: string, fault: Readonly<Record<string, unknown>>): FlatRefused {
  if (fault.fault === "refused") {
    const { code, subject, reason, fix } = fault;
    const what = subject === "" || subject === undefined ? reason : `${reason}: ${subject}`;
    return generic(`${what}. ${fix}`, code === "too-large" ? 413 : 400);
  }
  const problem = problemOfFault(node, fault);
  return problem === undefined ? notFound() : refusedOf(problem);
}
