/** Content that a node sends down through here, from socket to socket; saved by who gets it, never shown. */
import type { IncomingMessage } from "node:http";
import type { Problem } from "@millrace/contracts/problems.ts";
import * as HttpServerResponse from "effect/http/HttpServerResponse";
import type { Asked } from "./asked.ts";
import { away, cutWhenStalled, faultIn, problemOfFault } from "./bytes.ts";
import type { Down } from "./bytes-down.ts";
import { fail } from "./failures.ts";

/** Content that others have made runs nowhere: it is saved, not shown. */
export const SAVED = {
  "content-security-policy": "sandbox; default-src 'none'; frame-ancestors 'none'",
  "cache-control": "private, no-cache",
};

export const attachmentNamed = (name: string): string => {
  const plain = name.replaceAll(/[^A-Za-z0-9._ -]/g, "_");
  const encoded = encodeURIComponent(name).replaceAll(/['()*]/g, (char) => `%${char.charCodeAt(0).toString(16)}`);
  return `attachment; filename="${plain}"; filename*=UTF-8''${encoded}`;
};

export const passedOn = (
  { headers }: Pick<IncomingMessage, "headers">,
  names: ReadonlyArray<string>,
): Record<string, string> =>
  Object.fromEntries(names.flatMap((name) => (headers[name] === undefined ? [] : [[name, String(headers[name])]])));

export const CONTENT: ReadonlySet<number> = new Set([200, 206, 304, 416]);

/** What is sent down, as it is called and told of. */
export interface Sent {
  readonly name: string;
  readonly node: string;
  /** What is told where nothing of it is there. */
  readonly lost: Problem;
}

export const contentHeaders = (
  { name }: Pick<Sent, "name">,
  answer: Pick<IncomingMessage, "headers">,
): Record<string, string> => ({
  ...SAVED,
  "content-disposition": attachmentNamed(name),
  ...passedOn(answer, ["content-length", "content-range", "accept-ranges", "etag"]),
});

/** What has content is answered here, from socket to socket; what has none as everything else. @throws Failed */
export async function sendDown(
  answer: Down,
  { name, node, lost }: Sent,
  asked: Asked,
): Promise<HttpServerResponse.HttpServerResponse> {
  const { status } = answer;
  if (!CONTENT.has(status)) {
    const problem = problemOfFault(node, faultIn(await answer.text()));
    return fail(problem ?? (status === 404 ? lost : away(node)));
  }
  const headers = contentHeaders({ name }, answer);
  const response = asked.response!;
  if (status !== 200 && status !== 206) answer.drop();
  else if (response.destroyed) answer.drop();
  else {
    cutWhenStalled(response.req.socket, () => response.writableFinished || response.destroyed);
    response.writeHead(status, { ...headers, "content-type": "application/octet-stream" });
    await answer.sendTo(response);
  }
  return HttpServerResponse.empty({ status, headers });
}
