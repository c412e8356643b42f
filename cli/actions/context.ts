/** Contexts, login and logout. */
import { isToken } from "@millrace/contracts/token.ts";
import { secretValue } from "../ask.ts";
import { contextNamed, readContexts, removeContext, saveContext, writeContexts } from "../contexts.ts";
import { Failure, usage } from "../failure.ts";
import { connect, REQUEST_SECONDS } from "../gateway.ts";
import { forgetToken, keepToken } from "../keyring.ts";
import { printList } from "../output.ts";
import { styleOf } from "../run.ts";
import { type AnyCall, type Call, EXIT, type None } from "../table.ts";
import { checkedUrl, contextOf } from "../target.ts";

type Named = Call<None, { readonly name: { readonly summary: string } }>;
type Switch<K extends string> = { readonly [P in K]: { readonly type: "boolean"; readonly summary: string } };

export async function list(call: AnyCall): Promise<void> {
  const { selected, contexts } = readContexts(call.io.env);
  const rows = Object.entries(contexts).map(([name, context]) => ({
    name,
    selected: name === selected,
    url: context.url,
    org: context.org ?? null,
    data: context.data ?? null,
    token: context.token ?? (context.ownerTokenFile === undefined ? null : "the owner's, in the data folder"),
  }));
  await printList(
    call.io,
    styleOf(call),
    rows,
    [
      { title: "", value: (row) => (row.selected ? "*" : "") },
      { title: "name", value: (row) => row.name },
      { title: "url", value: (row) => row.url },
      { title: "organisation", value: (row) => row.org },
      { title: "token", value: (row) => row.token },
      { title: "data folder", value: (row) => row.data },
    ],
    (row) => row.name,
  );
  if (rows.length === 0) call.io.err("There is no context. `mill up` makes one; so does `mill context add`\n");
}

export async function add(
  call: Call<Switch<"select">, { readonly name: { readonly summary: string } }>,
): Promise<void> {
  const { io, args, flags } = call;
  if (flags.url === undefined) throw usage("--url is needed", "mill context add <name> --url <address>");
  const context = { url: checkedUrl(flags.url), ...(flags.org === undefined ? {} : { org: flags.org }) };
  const { selected } = saveContext(io.env, args.name, context, flags.select);
  io.err(`Added ${args.name}${selected === args.name ? ", selected" : ""}. Next: mill login --context ${args.name}\n`);
}

export async function select({ io, args }: Named): Promise<void> {
  const known = readContexts(io.env);
  contextNamed(known.contexts, args.name);
  writeContexts(io.env, { ...known, selected: args.name });
  io.err(`Selected ${args.name}\n`);
}

export async function remove({ io, args }: Named): Promise<void> {
  removeContext(io.env, args.name);
  forgetToken(io.env, args.name);
  io.err(`Removed ${args.name}\n`);
}

export async function login(call: Call<Switch<"token-stdin">, None>): Promise<void> {
  const { io, flags } = call;
  const { name, context } = chosen(call);
  const token = await secretValue(call, `Token for ${name}`, flags["token-stdin"]);
  if (!isToken(token)) {
    throw usage(
      "That is no token: it was cut off or mistyped",
      "A token begins with mrt_ or mrp_ and has 50 characters",
    );
  }
  const url = flags.url === undefined ? context.url : checkedUrl(flags.url);
  const gateway = connect({ url, token, org: undefined, context: name }, io, {
    seconds: flags.timeout ?? REQUEST_SECONDS,
    verbose: flags.verbose,
  });
  const whoami = await gateway.call("whoami", {});
  const org = flags.org ?? context.org ?? whoami.organisation.name;
  saveContext(io.env, name, { ...context, url, org, token: keepToken(io.env, name, token) });
  const expires = whoami.token.expiresAt === undefined ? "" : `, until ${whoami.token.expiresAt}`;
  io.err(`Logged in to ${name} as "${whoami.token.name}" of ${whoami.organisation.name}${expires}\n`);
}

export async function logout(call: AnyCall): Promise<void> {
  const { name, context } = chosen(call);
  forgetToken(call.io.env, name);
  const { token: _, ...rest } = context;
  saveContext(call.io.env, name, rest);
  call.io.err(`Logged out of ${name}. The token itself stays valid; \`mill tokens revoke\` ends it\n`);
}

/** The context meant. With --url and a new --context name, login makes it. */
function chosen({ io, flags }: AnyCall) {
  const known = readContexts(io.env).contexts;
  if (flags.context !== undefined && flags.url !== undefined && !Object.hasOwn(known, flags.context)) {
    return { name: flags.context, context: { url: checkedUrl(flags.url) } as (typeof known)[string] };
  }
  const found = contextOf(io, flags.context);
  if (found !== undefined) return found;
  throw new Failure("no-context", EXIT.usage, "There is no context to log in to", {
    fix: "mill login --context <name> --url <address>",
  });
}
