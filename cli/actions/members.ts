/** Members, invitations, roles, one's own profile, and why. */
import { isInvitationSecret } from "@millrace/contracts/token.ts";
import { confirm, secretValue } from "../ask.ts";
import { readContexts, saveContext } from "../contexts.ts";
import { usage } from "../failure.ts";
import { connect, gatewayOf, REQUEST_SECONDS } from "../gateway.ts";
import { keepToken } from "../keyring.ts";
import { facts, printOne } from "../output.ts";
import { styleOf } from "../run.ts";
import { type AnyCall, type Call, EXIT, type Flag, type None } from "../table.ts";
import { checkedUrl, contextOf } from "../target.ts";
import type { Answer } from "../typed.ts";
import { expiry } from "./identity.ts";

type Arg<K extends string> = { readonly [P in K]: { readonly summary: string } };
type Of<T extends Flag["type"], K extends string> = {
  readonly [P in K]: { readonly type: T; readonly summary: string };
};
type Giving<K extends string> = Call<Of<"string", "at"> & Of<"integer", "seen">, Arg<K | "role">>;

/** Only what was said. */
const given = <K extends string, V>(name: K, value: V | undefined): { readonly [N in K]?: V } =>
  (value === undefined ? {} : { [name]: value }) as { readonly [N in K]?: V };

const rolesText = (roles: Answer<"getMember">["spec"]["roles"]): string[] =>
  roles.map(({ role, at }) => (at === undefined ? role : `${role}@${at}`));

const printMember = (call: AnyCall, member: Answer<"getMember">) =>
  printOne(
    call.io,
    styleOf(call),
    member,
    ({ id, spec }) =>
      facts([
        ["name", spec.name],
        ["title", spec.title],
        ["e-mail", spec.email],
        ["avatar", spec.avatar],
        ["roles", rolesText(spec.roles)],
        ["time zone", spec.settings.timeZone],
        ["language", spec.settings.language],
        ["theme", spec.settings.theme],
        ["id", id],
      ]),
    ({ spec }) => spec.name,
  );

const giving = ({ args, flags }: Giving<never>) => ({
  seen: flags.seen,
  payload: { role: args.role, ...given("at", flags.at) },
});

export async function give(call: Giving<"member">): Promise<void> {
  const params = { id: call.args.member };
  await printMember(call, await gatewayOf(call).call("giveRole", { params, ...giving(call) }));
}

export async function take(call: Giving<"member">): Promise<void> {
  const params = { id: call.args.member };
  await printMember(call, await gatewayOf(call).call("takeRole", { params, ...giving(call) }));
}

const printToken = (call: AnyCall, token: Answer<"getToken">) =>
  printOne(
    call.io,
    styleOf(call),
    token,
    ({ id, spec }) =>
      facts([
        ["name", spec.name],
        ["grants", spec.grants],
        ["roles", rolesText(spec.roles ?? [])],
        ["id", id],
      ]),
    ({ spec }) => spec.name,
  );

export async function giveToToken(call: Giving<"token">): Promise<void> {
  const params = { id: call.args.token };
  await printToken(call, await gatewayOf(call).call("giveRoleToToken", { params, ...giving(call) }));
}

export async function takeFromToken(call: Giving<"token">): Promise<void> {
  const params = { id: call.args.token };
  await printToken(call, await gatewayOf(call).call("takeRoleFromToken", { params, ...giving(call) }));
}

export async function remove(call: Call<None, Arg<"member">>): Promise<void> {
  const { member } = call.args;
  await confirm(call, `Remove the member ${member}, and with them their tokens`, member);
  await gatewayOf(call).call("removeMember", { params: { id: member } });
  call.io.err(`Removed ${member}\n`);
}

export async function invite(
  call: Call<Of<"string", "role" | "at" | "title" | "email" | "expires">, Arg<"name">>,
): Promise<void> {
  const { args, flags, io } = call;
  const { role = "viewer", at, title, email, expires } = flags;
  const made = await gatewayOf(call).call("invite", {
    payload: {
      name: args.name,
      role,
      ...given("at", at),
      ...given("title", title),
      ...given("email", email),
      ...given("expiresAt", expires === undefined ? undefined : expiry(expires, new Date())),
    },
  });
  const people = ({ id, spec, secret }: typeof made) =>
    facts([
      ["name", spec.name],
      ["role", rolesText([spec.role])],
      ["expires", spec.expiresAt],
      ["id", id],
      ["secret", secret ?? "(it was shown before; it cannot be shown again)"],
    ]);
  await printOne(io, styleOf(call), made, people, ({ secret }) => secret ?? "");
  io.err("The secret is shown this once: give it to whom it is for. `mill invitations accept` takes it\n");
}

export async function revoke(call: Call<None, Arg<"invitation">>): Promise<void> {
  const { invitation } = call.args;
  await gatewayOf(call).call("revokeInvitation", { params: { id: invitation } });
  call.io.err(`Revoked ${invitation}\n`);
}

export async function accept(
  call: Call<Of<"boolean", "secret-stdin"> & Of<"string", "name" | "title">, None>,
): Promise<void> {
  const { io, flags } = call;
  const known = contextOf(io, flags.context !== undefined && flags.url !== undefined ? undefined : flags.context);
  const address = flags.url ?? io.env.MILLRACE_URL ?? known?.context.url;
  if (address === undefined) throw usage("--url is needed", "mill invitations accept --url <address>");
  const url = checkedUrl(address);
  const secret = await secretValue(call, "Secret of the invitation", flags["secret-stdin"]);
  if (!isInvitationSecret(secret)) {
    throw usage("That is no secret of an invitation", "It begins with mri_ and has 50 characters: copy all of it");
  }
  const target = { url, token: undefined, org: undefined, context: undefined };
  const gateway = connect(target as never, io, { seconds: flags.timeout ?? REQUEST_SECONDS, verbose: flags.verbose });
  const { member, ...mine } = await gateway.call("acceptInvitation", {
    payload: { secret, ...given("name", flags.name), ...given("title", flags.title) },
  });
  if (flags.output === "name") return void (await io.out(`${mine.secret}\n`));
  const name = flags.context ?? known?.name ?? "default";
  const { contexts } = readContexts(io.env);
  const context = contexts[name] ?? { url };
  saveContext(io.env, name, { ...context, url, org: member.organisation, token: keepToken(io.env, name, mine.secret) });
  await printMember(call, member);
  io.err(`Welcome. Logged in to ${name} as ${member.spec.title}\n`);
}

type RoleFlags = Of<"strings", "grant"> & Of<"string", "title" | "description">;

const printRole = (call: AnyCall, role: Answer<"getRole">) =>
  printOne(
    call.io,
    styleOf(call),
    role,
    ({ id, spec }) =>
      facts([
        ["name", spec.name],
        ["title", spec.title],
        ["grants", spec.grants],
        ["id", id],
      ]),
    ({ spec }) => spec.name,
  );

export async function defineRole(call: Call<RoleFlags, Arg<"name">>): Promise<void> {
  const { args, flags } = call;
  const { grant: grants, title, description } = flags;
  const payload = { name: args.name, grants, ...given("title", title), ...given("description", description) };
  await printRole(call, await gatewayOf(call).call("defineRole", { payload }));
}

export async function changeRole(call: Call<RoleFlags & Of<"integer", "seen">, Arg<"role">>): Promise<void> {
  const { args, flags } = call;
  const { grant, title, description, seen } = flags;
  const payload = {
    ...given("grants", grant.length === 0 ? undefined : grant),
    ...given("title", title),
    ...given("description", description),
  };
  await printRole(call, await gatewayOf(call).call("changeRole", { params: { id: args.role }, seen, payload }));
}

export async function deleteRole(call: Call<None, Arg<"role">>): Promise<void> {
  const { role } = call.args;
  await confirm(call, `Delete the role ${role}: who has it can do nothing by it any more`, role);
  await gatewayOf(call).call("deleteRole", { params: { id: role } });
  call.io.err(`Deleted ${role}\n`);
}

export async function showProfile(call: AnyCall): Promise<void> {
  await printMember(call, await gatewayOf(call).call("getProfile", {}));
}

export async function changeProfile(
  call: Call<Of<"string", "title" | "email" | "avatar" | "time-zone" | "language" | "theme">, None>,
): Promise<void> {
  const { title, email, avatar, language, theme, "time-zone": timeZone } = call.flags;
  const gateway = gatewayOf(call);
  const { spec } = await gateway.call("getProfile", {});
  const orNull = (text: string | undefined) => (text === "" ? null : text);
  const settings = {
    ...spec.settings,
    ...given("timeZone", timeZone),
    ...given("language", language),
    ...given("theme", theme as "dark" | undefined),
  };
  const payload = {
    ...given("title", title),
    ...given("email", orNull(email)),
    ...given("avatar", orNull(avatar)),
    settings,
  };
  await printMember(call, await gateway.call("changeProfile", { payload }));
}

export async function ownToken(
  call: Call<Of<"strings", "grant"> & Of<"string", "expires">, Arg<"name">>,
): Promise<void> {
  const { args, flags, io } = call;
  const { grant, expires } = flags;
  const made = await gatewayOf(call).call("createOwnToken", {
    payload: {
      name: args.name,
      ...given("grants", grant.length === 0 ? undefined : grant),
      ...given("expiresAt", expires === undefined ? undefined : expiry(expires, new Date())),
    },
  });
  const people = ({ id, spec, secret }: typeof made) =>
    facts([
      ["name", spec.name],
      ["grants", spec.grants],
      ["expires", spec.expiresAt ?? "never"],
      ["id", id],
      ["token", secret ?? "(it was shown before; it cannot be shown again)"],
    ]);
  await printOne(io, styleOf(call), made, people, ({ secret }) => secret ?? "");
  io.err("The token is shown this once: keep it now\n");
}

export async function why(call: Call<Of<"string", "subject" | "resource">, Arg<"permission">>): Promise<number> {
  const { args, flags, io } = call;
  const told = await gatewayOf(call).call("explain", {
    query: {
      permission: args.permission,
      ...given("subject", flags.subject),
      ...given("resource", flags.resource),
    },
  });
  const people = ({ subject, permission, resource, allowed, because, missing }: typeof told) =>
    [
      `${subject.kind} ${subject.name} ${allowed ? "may" : "may not"} ${permission} for ${resource}`,
      ...because.map(({ sentence }) => `  + ${sentence}`),
      ...missing.flatMap(({ sentence, roles }) => [
        `  - ${sentence}`,
        ...(roles.length === 0 ? [] : [`    roles that hold it: ${roles.join(", ")}`]),
      ]),
      "",
    ].join("\n");
  await printOne(io, styleOf(call), told, people, ({ allowed }) => (allowed ? "yes" : "no"));
  return told.allowed ? EXIT.ok : EXIT.auth;
}
