/** Which gateway, organisation and token a call is meant for. Flag before environment before context. */
import { existsSync, readFileSync } from "node:fs";
import { lastRunState } from "@millrace/local/run-state.ts";
import { type Context, contextNamed, readContexts } from "./contexts.ts";
import { Failure } from "./failure.ts";
import type { Io } from "./io.ts";
import { keptToken } from "./keyring.ts";
import { type AnyCall, EXIT } from "./table.ts";

export interface Target {
  /** Without a slash at the end. */
  readonly url: string;
  readonly token: string | undefined;
  readonly org: string | undefined;
  /** Name of the context it came from. */
  readonly context: string | undefined;
  /** Data folder of an installation on this machine. */
  readonly data?: string | undefined;
}

export interface Asked {
  readonly context: string | undefined;
  readonly url: string | undefined;
  readonly org: string | undefined;
}

/** The name and the context that hold for this call; undefined when there is none. */
export function contextOf(io: Io, asked: string | undefined): { name: string; context: Context } | undefined {
  const known = readContexts(io.env);
  const name = asked ?? io.env.MILLRACE_CONTEXT ?? known.selected;
  if (name === undefined || name === "") return undefined;
  return { name, context: contextNamed(known.contexts, name) };
}

/** @throws Failure when no address is known */
export function targetOf(io: Io, asked: Asked): Target {
  const given = asked.url ?? io.env.MILLRACE_URL;
  // An address given by hand is somebody else's gateway: the context's token is not for it unless the context is named too.
  const found = given !== undefined && asked.context === undefined ? undefined : contextOf(io, asked.context);
  const url = given ?? (found && urlOf(found.context));
  if (url === undefined) {
    throw new Failure("no-context", EXIT.usage, "No gateway is known to talk to", {
      fix: "Start one here with `mill up`, or name one: `mill context add <name> --url <address>`",
    });
  }
  const token = io.env.MILLRACE_TOKEN || (found === undefined ? undefined : tokenOf(io, found.name, found.context));
  if (token === undefined && found?.context.data !== undefined && !existsSync(found.context.data)) throw gone(found);
  return {
    url: checkedUrl(url),
    token,
    org: asked.org ?? io.env.MILLRACE_ORG ?? found?.context.org,
    context: found?.name,
    data: given === undefined ? found?.context.data : undefined,
  };
}

/** Said here: without a token the gateway could only say that it got none. */
const gone = ({ name, context }: { readonly name: string; readonly context: Context }): Failure =>
  new Failure("no-data-folder", EXIT.usage, `The data folder of the context ${name} is not there`, {
    why: `${context.data} is gone, and the owner's token with it. Was it moved?`,
    fix: "`mill up` on it where it is now makes a context of its own; `mill context list` shows them, `mill context select <name>` chooses one",
  });

export const targetOfCall = ({ io, flags }: AnyCall): Target => targetOf(io, flags);

/** The context's token; undefined when there is none. */
export function tokenOf(io: Io, name: string, context: Context): string | undefined {
  if (context.token === "keyring" || context.token === "file") return keptToken(io.env, name, context.token);
  if (context.ownerTokenFile === undefined) return undefined;
  try {
    return readFileSync(context.ownerTokenFile, "utf8").trim() || undefined;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return undefined;
    throw error;
  }
}

/** The address; of an installation on this machine the one its gateway has now. */
function urlOf({ url, data }: Context): string {
  return (data === undefined ? undefined : lastRunState(data)?.facts?.url) ?? url;
}

/** @throws Failure when it is no http address */
export function checkedUrl(text: string): string {
  const url = URL.parse(text);
  if (url !== null && (url.protocol === "http:" || url.protocol === "https:") && url.host !== "") {
    return `${url.origin}${url.pathname.replace(/\/+$/, "")}`;
  }
  throw new Failure("usage", EXIT.usage, `"${text}" is no address of a gateway`, {
    fix: "Write it like http://127.0.0.1:7070",
  });
}
