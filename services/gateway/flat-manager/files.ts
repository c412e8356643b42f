/**
 * `/repo/{name}/…` and `/build-repo/{number}/…` as flat-manager serves them, beside Caddy's: from the node that has them, through here. A
 * token is needed only for what is private; one that is sent has to be good.
 */
import type { IncomingMessage, ServerResponse } from "node:http";
import { pipeline } from "node:stream/promises";
import { isId } from "@millrace/contracts/ids.ts";
import { build, numberClaim } from "@millrace/domain/publishing/build.ts";
import { type RepositoryState, repository } from "@millrace/domain/publishing/repository.ts";
import { readClaim } from "@millrace/eventlog/execute.ts";
import type { Asked } from "../asked.ts";
import { Holders, hop } from "../bytes.ts";
import { Reading, readerLimits } from "../publishing/reading.ts";
import { away, generic, insufficient, invalidToken, notFound, wrongMethod } from "./answers.ts";
import { type FlatParts, urlOf } from "./call.ts";
import { type Caller, check } from "./callers.ts";
import { limitsOf } from "./claims.ts";

const PATH = /^\/(repo|build-repo)\/([A-Za-z0-9][A-Za-z0-9._-]{0,200})\/(.*)$/;
/** Sent on to the node, and back from it. */
const ASKED = ["range", "if-range", "if-none-match"];
const ANSWERED = [
  "content-length",
  "content-range",
  "content-type",
  "accept-ranges",
  "etag",
  "last-modified",
  "cache-control",
];

export const isFile = (path: string): boolean => path.startsWith("/repo/") || path.startsWith("/build-repo/");

/** `..` within it is resolved. @throws FlatRefused for a path that no file has */
export function plainPath(encoded: string): string {
  let path: string;
  try {
    path = decodeURIComponent(encoded);
  } catch {
    throw generic("The path cannot be read");
  }
  const parts: string[] = [];
  for (const part of path.split("/")) {
    if (part === "..") {
      if (parts.pop() === undefined) throw generic("The path leads outside");
    } else if (/^[.*]|[:<>]$|[\\\0]/.test(part)) throw generic("No file has such a path");
    else if (part !== "") parts.push(part);
  }
  return parts.join("/");
}

interface Found {
  /** Of what the file is of. */
  readonly resource: string;
  readonly repository: RepositoryState;
  readonly isPublic: boolean;
  readonly sub: string;
  readonly app: string | null;
  readonly lineage: ReadonlyArray<string>;
}

export class Files {
  readonly #parts: FlatParts;
  readonly #holders: Holders;
  readonly #reading: Reading;

  constructor(parts: FlatParts) {
    this.#parts = parts;
    this.#holders = new Holders(parts.gateway, "publisher");
    this.#reading = new Reading(parts.gateway.log.nats);
  }

  /** @throws FlatRefused */
  async serve(request: IncomingMessage, response: ServerResponse, asked: Asked, path: string): Promise<void> {
    request.resume();
    const [, kind, name, rest = ""] = PATH.exec(path) ?? [];
    asked.route = kind === "build-repo" ? "/build-repo/{id}/{file}" : "/repo/{name}/{file}";
    if (request.method !== "GET" && request.method !== "HEAD") throw wrongMethod();
    const file = plainPath(rest);
    const caller = await this.#parts.callers.ofDownload(request, asked);
    if (name === undefined || file === "") throw notFound();
    const found = kind === "repo" ? await this.#repository(name, caller) : await this.#build(name, caller);
    if (found === undefined) throw notFound();
    if (!found.isPublic) await this.#permit(caller, found, file);
    await this.#send(request, response, asked, found, file, caller);
  }

  /** In the caller's organisation; without one in that of the configuration. */
  #organisation(caller: Caller | undefined): string | undefined {
    const { callers, gateway } = this.#parts;
    return caller?.organisation.id ?? gateway.identity.organisation(callers.settings.organisation)?.id;
  }

  async #repository(name: string, caller: Caller | undefined): Promise<Found | undefined> {
    const { callers, gateway } = this.#parts;
    const organisation = this.#organisation(caller);
    const ours = callers.nameOf({ configured: caller?.configured ?? false }, name);
    const claim =
      organisation === undefined || ours === undefined ? undefined : repository.nameClaim!(organisation, ours);
    const named = claim === undefined ? null : (await readClaim(gateway.log, repository.context, claim)).holder;
    const id = isId(repository.prefix, name) ? name : named;
    if (id === null) return undefined;
    const { state } = await gateway.log.aggregates.load(repository, id);
    if (!repository.exists(state)) return undefined;
    const isPublic = state.settings.visibility !== "private";
    if (!isPublic && state.organisation !== caller?.organisation.id) return undefined;
    return { resource: id, repository: state, isPublic, sub: "build", app: null, lineage: [id] };
  }

  async #build(number: string, caller: Caller | undefined): Promise<Found | undefined> {
    const { log } = this.#parts.gateway;
    if (!/^[1-9][0-9]{0,9}$/.test(number)) return undefined;
    const { holder } = await readClaim(log, build.context, numberClaim(number));
    if (holder === null) return undefined;
    const { state } = await log.aggregates.load(build, holder);
    const { state: into } = await log.aggregates.load(repository, state.repository);
    const isPublic = state.publicDownload && into.settings.visibility !== "private";
    if (!isPublic && caller !== undefined && state.organisation !== caller.organisation.id) return undefined;
    const lineage = [state.id, into.id];
    return { resource: state.id, repository: into, isPublic, sub: `build/${number}`, app: state.appId, lineage };
  }

  /** @throws FlatRefused */
  async #permit(
    caller: Caller | undefined,
    { resource, repository: into, sub, app, lineage }: Found,
    file: string,
  ): Promise<void> {
    if (caller === undefined) throw invalidToken("No token specified");
    check(caller, { sub, scopes: ["download"], repo: this.#parts.callers.clientNameOf(into.name), app, lineage });
    if (resource !== into.id) return;
    const limits = [
      ...readerLimits(into, caller.token?.id),
      ...(caller.claims === undefined ? [] : limitsOf(caller.claims)),
    ];
    const says = await this.#reading.refusal(into, limits, `/${file}`);
    if (says !== undefined) throw insufficient(says);
  }

  async #send(
    request: IncomingMessage,
    response: ServerResponse,
    asked: Asked,
    { resource, repository: into, isPublic }: Found,
    file: string,
    caller: Caller | undefined,
  ): Promise<void> {
    const { gateway } = this.#parts;
    if (into.node === null) throw notFound();
    const sender = {
      requestId: asked.requestId,
      token: { id: caller?.actor.id ?? "anybody" },
      organisation: { id: into.organisation },
    };
    const own = (request.url ?? "").split("/").slice(0, 3).join("/");
    const headers: Record<string, string | undefined> = {
      "x-file": file,
      "x-url": `${urlOf({ ...this.#parts, request }, own)}/`,
    };
    for (const name of ASKED) headers[name] = request.headers[name] as string | undefined;
    const holder = await this.#holders.of(into.node);
    const isHead = request.method === "HEAD";
    const answer = await hop(gateway, this.#holders, holder, sender, {
      act: "read",
      resource,
      headers,
      ...(isHead ? { method: "HEAD" as const } : {}),
    });
    const { statusCode: status = 0 } = answer;
    if (![200, 206, 304, 416].includes(status)) {
      answer.resume();
      throw status === 404 ? notFound() : away("The node that has the file cannot give it at this moment");
    }
    for (const name of ANSWERED) {
      const value = answer.headers[name];
      if (value !== undefined) response.setHeader(name, value);
    }
    if (!isPublic) response.setHeader("cache-control", "no-store");
    response.writeHead(status);
    // The reader has gone: that is its own affair.
    await pipeline(answer, response).catch(() => void response.destroy());
  }
}
