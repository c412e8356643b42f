/**
 * Whether a request for a file of a private repository is let through: asked by the Caddy that has the files, before each of them. Credentials
 * come as the stock client sends them, `http://user:<token>@host/…` as Basic, or as Bearer. What is answered names the repository, so that
 * what was allowed is what is served: a name is looked up in the organisation of the token.
 */
import type { IncomingMessage, ServerResponse } from "node:http";
import { within } from "@millrace/contracts/access.ts";
import { isId } from "@millrace/contracts/ids.ts";
import { isToken } from "@millrace/contracts/token.ts";
import type { AppLimit } from "@millrace/domain/publishing/app-limit.ts";
import { type RepositoryState, repository } from "@millrace/domain/publishing/repository.ts";
import { readClaim } from "@millrace/eventlog/execute.ts";
import { ACCESS_HEADER } from "@millrace/eventlog/served.ts";
import { admit, tried } from "../access.ts";
import type { Asked } from "../asked.ts";
import { problemOf } from "../failures.ts";
import { FlatRefused } from "../flat-manager/answers.ts";
import { type Callers, check } from "../flat-manager/callers.ts";
import { limitsOf } from "../flat-manager/claims.ts";
import type { Gateway } from "../gateway.ts";
import { Reading, readerLimits, remember } from "./reading.ts";

/** How long a repository is taken to be what it was: a change of its readers counts from then on. */
const KNOWN_MS = 1_000;

const REALM = 'Basic realm="Millrace", charset="UTF-8"';
const PATH = /^\/repo\/([a-z0-9][a-z0-9_-]{0,62})(?:@[a-z0-9-]{1,63})?(\/.*)?$/;

interface Known {
  readonly at: number;
  readonly state: RepositoryState | undefined;
}

/** Who asks. */
interface Reader {
  readonly organisation: string;
  /** Of every organisation, by its id. */
  readonly everywhere: boolean;
  /** Id of the token, where it is one of ours. */
  readonly token: string | undefined;
  /** @throws FlatRefused where a token of flat-manager may not */
  sees(state: RepositoryState): boolean;
  readonly limits: ReadonlyArray<AppLimit>;
}

type Verdict = { readonly repository: string } | { readonly status: 401 | 403 | 404; readonly says: string };

const GONE: Verdict = { status: 404, says: "There is no such repository." };

export class RepositoryAccess {
  readonly #gateway: Gateway;
  readonly #known = new Map<string, Known>();
  readonly #reading: Reading;
  readonly #callers: Callers;

  /** @param callers by whom tokens of flat-manager are known */
  constructor(gateway: Gateway, callers: Callers) {
    this.#gateway = gateway;
    this.#callers = callers;
    this.#reading = new Reading(gateway.log.nats);
  }

  /** Answers 204 with the repository, or why not. */
  serve(request: IncomingMessage, response: ServerResponse, asked: Asked): void {
    request.resume();
    asked.route = "/publishing/access";
    this.#judge(request, asked).then(
      (verdict) => this.#answer(response, verdict),
      (error: unknown) => {
        if (error instanceof FlatRefused) return refuse(response, error.error);
        const problem = problemOf(error);
        if (problem !== undefined) return refuse(response, problem);
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

  /** By a token of ours, or of flat-manager, as its clients send them. @throws Failed, FlatRefused */
  async #reader(request: IncomingMessage, asked: Asked): Promise<Reader> {
    const { identity, uses, limits } = this.#gateway;
    const credential = credentialOf(request.headers.authorization);
    if (credential === "" || isToken(credential)) {
      const need = { permission: "publishing:download", organisation: undefined, changes: false } as const;
      const access = admit(identity, uses, credential, need);
      if (!("token" in access)) throw tried(limits, access, { address: asked.address, class: "read" });
      const { token, reach } = access;
      return {
        organisation: token.organisation,
        everywhere: token.installation,
        token: token.id,
        sees: ({ id, organisation }) => within(reach, [id, organisation]),
        limits: [],
      };
    }
    const caller = await this.#callers.ofFile(request, asked);
    return {
      organisation: caller.organisation.id,
      everywhere: false,
      token: caller.token?.id,
      sees: ({ id, name }) => {
        const repo = this.#callers.clientNameOf(name);
        if (this.#callers.nameOf(caller, repo) === undefined) return false;
        check(caller, { sub: "build", scopes: ["download"], repo, lineage: [id] });
        return true;
      },
      limits: caller.claims === undefined ? [] : limitsOf(caller.claims),
    };
  }

  async #judge(request: IncomingMessage, asked: Asked): Promise<Verdict> {
    const reader = await this.#reader(request, asked);
    const [, reference, rest = ""] = PATH.exec(pathOf(String(request.headers["x-forwarded-uri"] ?? ""))) ?? [];
    if (reference === undefined) return GONE;
    const state = await this.#repository(reader, reference);
    if (state === undefined || !reader.sees(state)) return GONE;
    const says = await this.#reading.refusal(state, [...readerLimits(state, reader.token), ...reader.limits], rest);
    return says === undefined ? { repository: state.id } : { status: 403, says };
  }

  async #repository({ organisation, everywhere }: Reader, reference: string): Promise<RepositoryState | undefined> {
    const key = `${organisation} ${reference}`;
    const now = Date.now();
    const before = this.#known.get(key);
    if (before !== undefined && now - before.at < KNOWN_MS) return before.state;
    const state = await this.#load(organisation, everywhere, reference);
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
}

function refuse(response: ServerResponse, { status, message }: { readonly status: number; readonly message: string }) {
  const headers = status === 401 ? { "www-authenticate": REALM } : {};
  response.writeHead(status, { "content-type": "text/plain", ...headers });
  response.end(`${message}\n`);
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
