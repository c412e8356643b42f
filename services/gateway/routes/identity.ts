/** Organisations and tokens; secrets stand in secrets.ts. */
import { randomBytes } from "node:crypto";
import { Api } from "@millrace/contracts/api.ts";
import { makeToken } from "@millrace/contracts/token.ts";
import { organisation } from "@millrace/domain/identity/organisation.ts";
import { token } from "@millrace/domain/identity/token.ts";
import { organisations as organisationView, tokens as tokenView } from "@millrace/domain/identity/views.ts";
import * as HttpApiBuilder from "effect/http-api/HttpApiBuilder";
import type { Asked } from "../asked.ts";
import { type CommandOptions, commands, handle, json } from "../command.ts";
import type { Gateway } from "../gateway.ts";
import { history } from "../history.ts";
import { hashOf } from "../identity.ts";
import { past } from "../past.ts";
import { list } from "../queries.ts";

/** The optional member, or nothing of it. */
const given = <K extends string, V>(name: K, value: V | null | undefined): { readonly [N in K]?: V } =>
  (value === undefined || value === null ? {} : { [name]: value }) as { readonly [N in K]?: V };

/** Secrets of tokens that are being made, until the one answer that shows them. */
export const shownOnce = new WeakMap<Asked, string>();

/** The secret stands beside the entity, in the first answer. */
export const showSecret: Pick<CommandOptions<unknown>, "show"> = {
  show: (entity, { first, asked }) => (first ? { ...entity, ...given("secret", shownOnce.get(asked)) } : entity),
};

export const identityRoutes = (gateway: Gateway) =>
  HttpApiBuilder.group(Api, "identity", (handlers) => {
    const organisations = commands(gateway, organisation);
    const tokens = commands(gateway, token);
    const pastOrganisations = past(gateway, organisation);
    const pastTokens = past(gateway, token);
    return handlers
      .handle(
        "whoami",
        handle(gateway, async (_, { token: me }) => {
          const home = gateway.identity.organisation(me!.organisation)!;
          const self = me!.member === null ? undefined : gateway.identity.member(me!.member);
          return json({
            token: { id: me!.id, name: me!.name, ...given("expiresAt", me!.expiresAt) },
            organisation: { id: home.id, name: home.name, title: home.title },
            grants: me!.grants,
            installation: me!.installation,
            ...(self === undefined
              ? {}
              : { member: { id: self.id, name: self.name, title: self.title, roles: self.bindings } }),
          });
        }),
      )
      .handle(
        "createOrganisation",
        organisations.create(({ payload }) => ({
          type: "CreateOrganisation",
          ...payload,
          title: payload.title ?? payload.name,
        })),
      )
      .handle("listOrganisations", list(gateway, organisationView))
      .handle("getOrganisation", pastOrganisations.get())
      .handle("diffOrganisation", pastOrganisations.diff())
      .handle(
        "changeOrganisation",
        organisations.change(({ payload }, seen) => ({
          type: "ChangeOrganisation",
          ...given("seen", seen),
          ...payload,
        })),
      )
      .handle(
        "archiveOrganisation",
        organisations.act((_, seen) => ({ type: "ArchiveOrganisation", ...given("seen", seen) })),
      )
      .handle(
        "createToken",
        tokens.create(({ payload }, asked) => {
          const secret = makeToken("mrt", randomBytes);
          shownOnce.set(asked, secret);
          return {
            type: "CreateToken",
            ...payload,
            hash: hashOf(secret),
            last8: secret.slice(-8),
            installation: false,
            granter: asked.powers!.grants,
          };
        }, showSecret),
      )
      .handle("listTokens", list(gateway, tokenView))
      .handle("getToken", pastTokens.get())
      .handle(
        "revokeToken",
        tokens.remove((_, seen) => ({ type: "RevokeToken", ...given("seen", seen) })),
      )
      .handle("historyOfToken", history(gateway, token))
      .handle("diffToken", pastTokens.diff());
  });
