/** Why somebody may do something, or may not: the same layers that requests are judged by, with their reasons. */
import { decideAccess, type Layer, roleSays } from "@millrace/contracts/access.ts";
import { BUILT_IN_ROLES } from "@millrace/contracts/identity/roles.ts";
import { isId } from "@millrace/contracts/ids.ts";
import { PERMISSIONS } from "@millrace/contracts/permissions.ts";
import { NotFound } from "@millrace/contracts/problems.ts";
import { kindOfId } from "@millrace/domain/contexts.ts";
import { member } from "@millrace/domain/identity/member.ts";
import { type Token, token } from "@millrace/domain/identity/token.ts";
import { forbidden } from "../access.ts";
import { type Asked, mayAlso } from "../asked.ts";
import { type Handle, handle, invalidInput, json, type Request } from "../command.ts";
import { fail, problemOf } from "../failures.ts";
import { type Gateway, loadOwn } from "../gateway.ts";

interface Query {
  readonly subject?: string;
  readonly permission: string;
  readonly resource?: string;
}

/** Who is asked about, what they hold, and what takes all of it from them. */
interface Subject {
  readonly kind: "member" | "token";
  readonly id: string;
  readonly name: string;
  readonly layers: ReadonlyArray<Layer>;
  readonly ended: string | undefined;
  readonly installation: boolean;
}

function endOfToken({ identity }: Gateway, { revokedAt, expiresAt, member: whose }: Token): string | undefined {
  if (revokedAt !== null) return "The token was revoked.";
  if (expiresAt !== null && Date.parse(expiresAt) <= Date.now()) return "The token has expired.";
  if (whose !== null && identity.member(whose) === undefined) return "The member whose token it is was removed.";
  return undefined;
}

function ofToken(gateway: Gateway, found: Token): Subject {
  const { id, name, installation } = found;
  const { layers } = gateway.identity.powersOf(found);
  return { kind: "token", id, name, layers, installation, ended: endOfToken(gateway, found) };
}

/** A member or token of the organisation. @throws Failed (not-found) */
async function subjectOf(gateway: Gateway, asked: Asked, reference: string | undefined): Promise<Subject> {
  if (reference === undefined || reference === asked.token!.id) return ofToken(gateway, asked.token!);
  const known = isId(token.prefix, reference) ? gateway.identity.token(reference) : undefined;
  if (known?.organisation === asked.organisation!.id) return ofToken(gateway, known);
  const { state } = await loadOwn(gateway, member, asked, reference).catch((error: unknown) =>
    problemOf(error)?.status === 404
      ? fail(new NotFound({ detail: "There is no such member or token." }))
      : Promise.reject(error),
  );
  const layers = [gateway.identity.layerOfMember(state)];
  return { kind: "member", id: state.id, name: state.name, layers, installation: false, ended: undefined };
}

/** Ids that a grant may name, the nearest first. @throws Failed (not-found) */
async function lineageFor(gateway: Gateway, asked: Asked, resource: string | undefined): Promise<string[]> {
  const { id } = asked.organisation!;
  if (resource === undefined || resource === id) return [id];
  const kind = kindOfId(resource) ?? fail(new NotFound({ detail: "There is no such resource." }));
  const { state } = await loadOwn(gateway, kind, asked, resource);
  return [resource, ...(kind.parents?.(state) ?? []), id];
}

export const explain = <R extends Request>(gateway: Gateway): Handle<R> =>
  handle(gateway, async (request, asked) => {
    const { subject: about, permission, resource } = request.query as Query;
    if (!Object.hasOwn(PERMISSIONS, permission)) {
      fail(invalidInput("/query/permission", "is no permission", `One of ${Object.keys(PERMISSIONS).join(", ")}.`));
    }
    const isSelf = about === undefined || about === asked.token!.id || about === asked.token!.member;
    if (!isSelf && !mayAlso(asked, "identity:members", about)) return fail(forbidden("identity:members"));
    const subject = await subjectOf(gateway, asked, about);
    const lineage = await lineageFor(gateway, asked, resource);
    const { allowed, because, missing } = decideAccess(subject.layers, permission, lineage);
    const own = gateway.identity.rolesOf(asked.organisation!.id);
    const roles = [...BUILT_IN_ROLES, ...own].filter(({ grants }) => roleSays(grants, permission));
    const { kind: layer, id, name } = subject;
    const none = (sentence: string) => ({ layer, id, name, grants: [], roles: [], sentence });
    const further = [
      ...(subject.ended === undefined ? [] : [none(subject.ended)]),
      ...(permission === "identity:install" && !subject.installation
        ? [none("What concerns the whole installation only its owner's token may do.")]
        : []),
    ];
    return json({
      subject: { kind: layer, id, name },
      permission,
      resource: lineage[0],
      lineage,
      allowed: allowed && further.length === 0,
      because: because.map(({ layer: of, grant, via }) => ({
        layer: of.kind,
        id: of.id,
        name: of.name,
        grant,
        ...(via.kind === "grant" ? {} : { role: via.role, ...(via.at === undefined ? {} : { at: via.at }) }),
        sentence:
          via.kind === "grant"
            ? `The ${of.kind} ${of.name} holds ${grant}.`
            : `The ${of.kind} ${of.name} has the role ${via.role}${via.at === undefined ? "" : ` for ${via.at}`}, which grants ${grant}.`,
      })),
      missing: [
        ...further,
        ...missing.map(({ layer: of, grants }) => ({
          layer: of.kind,
          id: of.id,
          name: of.name,
          grants,
          roles: roles.map((role) => role.name),
          sentence: `The ${of.kind} ${of.name} holds nothing that allows ${permission} here${
            of.kind === "member" ? "" : ": neither by its own grants nor by a role"
          }.`,
        })),
      ],
    });
  });
