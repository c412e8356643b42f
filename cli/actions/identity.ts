/** Organisations, tokens, secrets. */
import { confirm, secretValue } from "../ask.ts";
import { Failure, usage } from "../failure.ts";
import { gatewayOf } from "../gateway.ts";
import { facts, printOne } from "../output.ts";
import { styleOf } from "../run.ts";
import { type AnyCall, type Call, EXIT, type Flag, type None } from "../table.ts";
import type { Answer } from "../typed.ts";

type Arg<K extends string> = { readonly [P in K]: { readonly summary: string } };
type Of<T extends Flag["type"], K extends string> = {
  readonly [P in K]: { readonly type: T; readonly summary: string };
};

export async function whoami(call: AnyCall): Promise<void> {
  const gateway = gatewayOf(call);
  const me = await gateway.call("whoami", {});
  const people = (who: Answer<"whoami">) =>
    facts([
      ["token", `${who.token.name} (${who.token.id})`],
      ["member", who.member === undefined ? undefined : `${who.member.title} (${who.member.name})`],
      ["roles", who.member?.roles.map(({ role, at }) => (at === undefined ? role : `${role}@${at}`))],
      ["organisation", `${who.organisation.name} (${who.organisation.id})`],
      ["grants", who.grants],
      ["installation", who.installation ? "may act on every organisation" : undefined],
      ["expires", who.token.expiresAt ?? "never"],
      ["gateway", gateway.target.url],
      ["context", gateway.target.context],
    ]);
  await printOne(call.io, styleOf(call), me, people, (who) => who.token.name);
}

const organisationFacts = (organisation: Answer<"getOrganisation">) =>
  facts([
    ["name", organisation.spec.name],
    ["title", organisation.spec.title],
    ["id", organisation.id],
    ["archived", organisation.status.archivedAt],
  ]);

const printOrganisation = (call: AnyCall, organisation: Answer<"getOrganisation">) =>
  printOne(call.io, styleOf(call), organisation, organisationFacts, (entity) => entity.spec.name);

export async function createOrganisation(call: Call<Of<"string", "title">, Arg<"name">>): Promise<void> {
  const { name } = call.args;
  const { title } = call.flags;
  const made = await gatewayOf(call).call("createOrganisation", {
    payload: { name, ...(title === undefined ? {} : { title }) },
  });
  await printOrganisation(call, made);
  call.io.err(`Created. Work in it with --org ${made.spec.name}\n`);
}

export async function renameOrganisation(
  call: Call<Of<"string", "title"> & Of<"integer", "seen">, Arg<"organisation" | "name">>,
): Promise<void> {
  const { args, flags } = call;
  const changed = await gatewayOf(call).call("changeOrganisation", {
    params: { org: args.organisation },
    seen: flags.seen,
    payload: { name: args.name, ...(flags.title === undefined ? {} : { title: flags.title }) },
  });
  await printOrganisation(call, changed);
}

export async function archiveOrganisation(call: Call<Of<"integer", "seen">, Arg<"organisation">>): Promise<void> {
  const { organisation } = call.args;
  await confirm(call, `Archive the organisation ${organisation}`, organisation);
  const archived = await gatewayOf(call).call("archiveOrganisation", {
    params: { org: organisation },
    seen: call.flags.seen,
  });
  await printOrganisation(call, archived);
}

/** `30d` from now, or the time itself. */
export function expiry(text: string, now: Date): string {
  const days = /^(\d{1,5})d$/.exec(text)?.[1];
  if (days !== undefined) return new Date(now.getTime() + Number(days) * 86_400_000).toISOString();
  const time = new Date(text);
  if (Number.isNaN(time.getTime())) throw usage(`"${text}" is no time`, "Write 30d, or 2027-01-31T00:00:00Z");
  return time.toISOString();
}

export async function createToken(
  call: Call<Of<"strings", "grant"> & Of<"string", "expires">, Arg<"name">>,
): Promise<void> {
  const { io, args, flags } = call;
  if (flags.grant.length === 0)
    throw usage("A token without a grant can do nothing", "Say what it may do: --grant work:*");
  const made = await gatewayOf(call).call("createToken", {
    payload: {
      name: args.name,
      grants: flags.grant,
      ...(flags.expires === undefined ? {} : { expiresAt: expiry(flags.expires, new Date()) }),
    },
  });
  const people = (token: typeof made) =>
    facts([
      ["name", token.spec.name],
      ["id", token.id],
      ["grants", token.spec.grants],
      ["expires", token.spec.expiresAt ?? "never"],
      ["token", token.secret ?? "(it was shown before; it cannot be shown again)"],
    ]);
  await printOne(io, styleOf(call), made, people, (token) => token.secret ?? "");
  io.err("The token is shown this once: keep it now\n");
}

export async function revokeToken(call: Call<None, Arg<"token">>): Promise<void> {
  const { token } = call.args;
  await confirm(call, `Revoke the token ${token}`, token);
  await gatewayOf(call).call("revokeToken", { params: { id: token } });
  call.io.err(`Revoked ${token}\n`);
}

export async function setSecret(call: Call<Of<"boolean", "stdin">, Arg<"name">>): Promise<void> {
  const { io, args, flags } = call;
  const value = await secretValue(call, `Value of ${args.name}`, flags.stdin);
  const gateway = gatewayOf(call);
  let secret: Answer<"getSecret">;
  try {
    secret = await gateway.call("replaceSecret", { params: { id: args.name }, payload: { value } });
  } catch (error) {
    if (!(error instanceof Failure) || error.exit !== EXIT.notFound) throw error;
    secret = await gateway.call("storeSecret", { payload: { name: args.name, value } });
  }
  const people = (entity: typeof secret) =>
    facts([
      ["name", entity.spec.name],
      ["id", entity.id],
      ["generation", entity.generation],
    ]);
  await printOne(io, styleOf(call), secret, people, (entity) => entity.spec.name);
}

export async function eraseSecret(call: Call<None, Arg<"secret">>): Promise<void> {
  const { secret } = call.args;
  await confirm(call, `Erase the secret ${secret}`, secret);
  await gatewayOf(call).call("eraseSecret", { params: { id: secret } });
  call.io.err(`Erased ${secret}\n`);
}
