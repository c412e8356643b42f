/**
 * The API of flat-manager, beside ours, by Node's own requests: its clients send bodies with GET and parts without names, which no framework
 * lets through. What it answers, errors too, is in its form.
 */
import type { IncomingMessage, ServerResponse } from "node:http";
import { type Asked, askedOfNode } from "../asked.ts";
import { cutWhenStalled } from "../bytes.ts";
import { type Answer, DEFECT, notFound, refusedOfError, sendJson, sendRefused, wrongMethod } from "./answers.ts";
import * as builds from "./builds.ts";
import type { Call, FlatParts } from "./call.ts";
import type { Callers } from "./callers.ts";
import { Files, isFile } from "./files.ts";
import * as jobs from "./jobs.ts";
import * as repos from "./repos.ts";
import * as tokens from "./tokens.ts";
import * as uploads from "./uploads.ts";

interface Route {
  readonly method: string;
  /** Of the path behind `/api/v1`. */
  readonly path: string;
  readonly handle: (call: Call) => Promise<Answer>;
}

const route = (method: string, path: string, handle: Route["handle"]): Route => ({ method, path, handle });

export const ROUTES: ReadonlyArray<Route> = [
  route("POST", "/build", builds.create),
  route("GET", "/build", builds.list),
  route("GET", "/build/{id}", builds.get),
  route("GET", "/build/{id}/extended", builds.getExtended),
  route("GET", "/build/{id}/missing_objects", uploads.missingObjects),
  route("POST", "/build/{id}/upload", uploads.upload),
  route("POST", "/build/{id}/build_ref", builds.createRef),
  route("GET", "/build/{id}/build_ref/{ref}", builds.getRef),
  route("POST", "/build/{id}/add_extra_ids", builds.addExtraIds),
  route("POST", "/build/{id}/commit", builds.commit),
  route("GET", "/build/{id}/commit", jobs.ofBuild("commit")),
  route("POST", "/build/{id}/publish", builds.publish),
  route("GET", "/build/{id}/publish", jobs.ofBuild("publish")),
  route("GET", "/build/{id}/check/{name}/job", jobs.getCheck),
  route("POST", "/build/{id}/purge", builds.purge),
  route("GET", "/job/{id}", repos.getJob),
  route("POST", "/job/{id}/check/review", jobs.reviewCheck),
  route("POST", "/repo/{name}/republish", repos.republish),
  route("POST", "/prune", repos.prune),
  route("POST", "/token_subset", tokens.subset),
  route("POST", "/tokens/get_list", tokens.list),
  route("POST", "/tokens/revoke", tokens.revoke),
];

interface Prepared extends Route {
  readonly pattern: RegExp;
}

const PREPARED: ReadonlyArray<Prepared> = ROUTES.map((one) => ({
  ...one,
  pattern: new RegExp(`^/api/v1${one.path.replaceAll(/\{[a-z]+\}/g, "([^/]+)")}$`),
}));

/** @throws FlatRefused for what is no name of anything */
function decoded(part: string): string {
  try {
    return decodeURIComponent(part);
  } catch {
    throw notFound();
  }
}

/** How long what a client still sends, after it was refused, is read so that it hears why. */
const DRAIN_MS = 60_000;

export class FlatManager {
  readonly #parts: FlatParts;
  readonly #files: Files;

  constructor(parts: FlatParts) {
    this.#parts = parts;
    this.#files = new Files(parts);
  }

  get callers(): Callers {
    return this.#parts.callers;
  }

  stop(): Promise<void> {
    return this.#parts.callers.stop();
  }

  /** @returns whether the request is one of its API; then it is answered */
  serve(request: IncomingMessage, response: ServerResponse): boolean {
    const [path = "", query = ""] = (request.url ?? "").split("?", 2);
    const asked = askedOfNode(request);
    if (isFile(path)) {
      const served = this.#files.serve(request, response, asked, path);
      served.catch((error: unknown) => this.#refuse(request, response, asked, error));
      return true;
    }
    if (!path.startsWith("/api/v1/")) return false;
    // Whatever it is, it may take its time; only what stands still is ended.
    asked.streams = true;
    asked.route = "/api/v1/{unmatched}";
    const { "content-length": length = "0", "transfer-encoding": coding } = request.headers;
    const hasBody = length !== "0" || coding !== undefined;
    if (hasBody)
      request.once(
        "close",
        cutWhenStalled(request.socket, () => request.complete),
      );
    this.#answer(request, response, asked, path, query).then(
      (answer) => sendJson(response, answer),
      (error: unknown) => this.#refuse(request, response, asked, error),
    );
    return true;
  }

  async #answer(
    request: IncomingMessage,
    response: ServerResponse,
    asked: Asked,
    path: string,
    query: string,
  ): Promise<Answer> {
    const matching = PREPARED.filter(({ pattern }) => pattern.test(path));
    const found = matching.find(({ method }) => method === request.method);
    if (found !== undefined) asked.route = `/api/v1${found.path}`;
    const { callers } = this.#parts;
    const caller = await callers.ofApi(request, asked);
    if (found === undefined) throw matching.length > 0 ? wrongMethod() : notFound();
    const caught = found.pattern.exec(path)!.slice(1).map(decoded);
    const call = { ...this.#parts, request, response, asked, caller, query: new URLSearchParams(query), path: caught };
    return found.handle(call);
  }

  #refuse(request: IncomingMessage, response: ServerResponse, asked: Asked, error: unknown): void {
    // The client has gone: nobody is there to be answered.
    if (request.socket.destroyed) return void response.destroy();
    const refused = refusedOfError(error);
    if (refused === undefined) {
      this.#parts.gateway.logger.error({ err: error, requestId: asked.requestId, route: asked.route }, "a defect");
    }
    sendRefused(response, refused ?? DEFECT);
    if (request.complete) return;
    request.resume();
    const drained = setTimeout(() => request.complete || request.destroy(), DRAIN_MS).unref();
    request.once("close", () => clearTimeout(drained));
  }
}
