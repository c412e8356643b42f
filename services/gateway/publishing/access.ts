/**
 * Whether a request for a file of a private repository is let through: asked by the Caddy that has the files, before each of them. Credentials
 * come as the stock client sends them, `http://user:<token>@host/…` as Basic, or as Bearer. What is answered names the repository, so that
 * what was allowed is what is served: a name is looked up in the organisation of the token.
 */
import type { IncomingMessage, ServerResponse } from "node:http";
import { within } from "@millrace/contracts/access.ts";
import { isId } from "@millrace/contracts/ids.ts";
import type { Problem } from "@millrace/contracts/problems.ts";
import { commitApplications } from "@millrace/contracts/publishing/asks.ts";
import { type RepositoryState, repository } from "@millrace/domain/publishing/repository.ts";
import { ask } from "@millrace/eventlog/asks.ts";
import { readClaim } from "@millrace/eventlog/execute.ts";
import { ACCESS_HEADER } from "@millrace/eventlog/served.ts";
import { type Access, admit, tried } from "../access.ts";
import type { Asked } from "../asked.ts";
import { problemOf } from "../failures.ts";
import type { Gateway } from "../gateway.ts";

/** How long a repository is taken to be what it was: a change of its readers counts from then on. */
const KNOWN_MS = 1_000;
/** Repositories, and commits with their applications, that are remembered. */
const REMEMBERED = 10_000;

const REALM = 'Basic realm="Millrace", charset="UTF-8"';
const PATH = /^\/repo\/([a-z0-9][a-z0-9_-]{0,62})(?:@[a-z0-9-]{1,63})?(\/.*)?$/;

interface Known {
  readonly at: number;
  readonly state: RepositoryState | undefined;
}

type Verdict = { readonly repository: string } | { readonly status: 401 | 403 | 404; readonly says: string };

const GONE: Verdict = { status: 404, says: "There is no such repository." };

export class RepositoryAccess {
  readonly #gateway: Gateway;
  readonly #known = new Map<string, Known>();
  /** Applications of commits: they stay what they are. */
  readonly #applications = new Map<string, ReadonlyArray<string>>();

  constructor(gateway: Gateway) {
    this.#gateway = gateway;
  }

  /** Answers 204 with the repository, or why not. */
  serve(request: IncomingMessage, response: ServerResponse, asked: Asked): void {
    request.resume();
    asked.route = "/publishing/access";
    this.#judge(request, asked).then(
      (verdict) => this.#answer(response, verdict),
      (error: unknown) => {
        const problem = problemOf(error);
        if (problem !== undefined) return this.#refuse(response, problem);
        this.#gateway.logger.error({ err: error, requestId: asked.requestId }, "a defect");
        response.writeHead(503, { "content-type": "text/plain", "retry-after": "5" });
        response.end("Whether this is allowed cannot be told at this moment.\n");
      },
    );
  }

  #answer(response: ServerResponse, verdict: Verdict): void {
    if ("repository" in verdict) response.writeHead(204, { [ACCESS_HEADER]: verdict.repository }).end();
    else response.writeHead(verdict.status, { "content-type": "text/plain" }).end(`${verdict.says}\n`);
  }

  #refuse(response: ServerResponse, problem: Problem): void {
    const headers = problem.status === 401 ? { "www-authenticate": REALM } : {};
    response.writeHead(problem.status, { "content-type": "text/plain", ...headers });
    response.end(`${problem.message}\n`);
  }

  async #judge(request: IncomingMessage, asked: Asked): Promise<Verdict> {
    const { identity, uses, limits } = this.#gateway;
    const { headers } = request;
    const need = { permission: "publishing:download", organisation: undefined, changes: false } as const;
    const access = admit(identity, uses, credentialOf(headers.authorization), need);
    if (!("token" in access)) {
      throw tried(limits, access, { address: asked.address, class: "read" });
    }
    const [, reference, rest = ""] = PATH.exec(pathOf(String(headers["x-forwarded-uri"] ?? ""))) ?? [];
    if (reference === undefined) return GONE;
    const state = await this.#repository(access, reference);
    if (state === undefined || !within(access.reach, [state.id, state.organisation])) return GONE;
    const reader = state.settings.readers?.find(({ token }) => token === access.token.id);
    if (reader === undefined) return { repository: state.id };
    const commit = commitOf(rest);
    if (commit === undefined) return { repository: state.id };
    const of = await this.#applicationsOf(state, commit);
    const may =
      of.length === 0 || of.some((id) => reader.applications.some((one) => id === one || id.startsWith(`${one}.`)));
    if (may) return { repository: state.id };
    return { status: 403, says: `This token is for other applications than ${of[0]}.` };
  }

  async #repository({ token }: Access, reference: string): Promise<RepositoryState | undefined> {
    const key = `${token.organisation} ${reference}`;
    const now = Date.now();
    const before = this.#known.get(key);
    if (before !== undefined && now - before.at < KNOWN_MS) return before.state;
    const state = await this.#load(token.organisation, token.installation, reference);
    remember(this.#known, key, { at: now, state });
    return state;
  }

  async #load(organisation: string, everywhere: boolean, reference: string): Promise<RepositoryState | undefined> {
    const { log } = this.#gateway;
    const isOne = isId(repository.prefix, reference);
    const claim = repository.nameClaim!(organisation, reference);
    const id = isOne ? reference : (await readClaim(log, repository.context, claim)).holder;
    if (id === null) return undefined;
    const loaded = await log.aggregates.load(repository, id);
    const mine = loaded.organisation === organisation || (everywhere && isOne);
    return mine && repository.exists(loaded.state) ? loaded.state : undefined;
  }

  async #applicationsOf({ id, node }: RepositoryState, commit: string): Promise<ReadonlyArray<string>> {
    const known = this.#applications.get(`${id} ${commit}`);
    if (known !== undefined || node === null) return known ?? [];
    const { applications } = await ask(this.#gateway.log.nats, commitApplications, node, { repository: id, commit });
    // One that is not there may come.
    if (applications === null) return [];
    remember(this.#applications, `${id} ${commit}`, applications);
    return applications;
  }
}

function remember<V>(all: Map<string, V>, key: string, value: V): void {
  if (all.size >= REMEMBERED) all.clear();
  all.set(key, value);
}

/**
 * As Caddy looks for files by it: decoded once, without what follows a `?`. What it would make another path of (`//`, `/../`) is none: what
 * is judged has to be what is served.
 */
export function pathOf(uri: string): string {
  try {
    const path = decodeURIComponent(uri.split(/[?#]/, 1)[0]!);
    return /\/\.{0,2}(\/|$)/.test(path.replace(/\/$/, "")) || path.includes("\\") ? "" : path;
  } catch {
    return "";
  }
}

/** "" when none was sent. */
function credentialOf(authorization: string | undefined): string {
  const [scheme = "", value = ""] = (authorization ?? "").split(" ", 2);
  if (scheme.toLowerCase() === "bearer") return value;
  if (scheme.toLowerCase() !== "basic" || value.length > 2_000) return "";
  const text = Buffer.from(value, "base64").toString("utf8");
  const at = text.indexOf(":");
  const password = text.slice(at + 1);
  // `http://<token>@host/`: then the client sends it as the user.
  return at >= 0 && password === "" ? text.slice(0, at) : password;
}

const HEX = /^\/objects\/([0-9a-f]{2})\/([0-9a-f]{62})\.commit(meta)?$/;
const DELTA = /^\/(?:deltas|delta-indexes)\/([A-Za-z0-9+_]{2})\/([A-Za-z0-9+_]{41})(?:-([A-Za-z0-9+_]{43}))?[/.]/;

/** The commit that a path is about, where that can be known: commits, their signatures, deltas to them. */
export function commitOf(path: string): string | undefined {
  const [, first, rest] = HEX.exec(path) ?? [];
  if (first !== undefined) return first + rest;
  const [, two, others, to] = DELTA.exec(path) ?? [];
  if (two === undefined) return undefined;
  return Buffer.from((to ?? two + others).replaceAll("_", "/"), "base64").toString("hex");
}
