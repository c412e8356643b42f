/** What can be asked of the identity context. */
import type { View } from "../view.ts";
import { type Invitation, invitation } from "./invitation.ts";
import { type Member, member } from "./member.ts";
import { type Organisation, organisation } from "./organisation.ts";
import { type Secret, secret } from "./secret.ts";
import { type Token, token } from "./token.ts";

export const organisations: View<Organisation> = {
  name: "organisations",
  version: 2,
  kind: organisation,
  columns: {
    name: { type: "text", value: (state) => state.name, filter: true, sort: true },
    title: { type: "text", value: (state) => state.title, sort: true },
    archived: { type: "boolean", value: (state) => state.archivedAt !== null, filter: true },
  },
  search: (state) => ({ title: state.title, text: state.name }),
};

export const tokens: View<Token> = {
  name: "tokens",
  version: 2,
  kind: token,
  columns: {
    name: { type: "text", value: (state) => state.name, filter: true, sort: true },
    grants: { type: "text[]", value: (state) => state.grants, filter: true },
    installation: { type: "boolean", value: (state) => state.installation, filter: true },
    member: { type: "text", value: (state) => state.member, filter: true },
  },
  search: (state) => ({ title: state.name, text: state.last8 }),
};

export const members: View<Member> = {
  name: "members",
  version: 1,
  kind: member,
  columns: {
    name: { type: "text", value: (state) => state.name, filter: true, sort: true },
    title: { type: "text", value: (state) => state.title, sort: true },
    role: { type: "text[]", value: (state) => state.bindings.map(({ role }) => role), filter: true },
  },
  search: (state) => ({ title: state.title, text: `${state.name} ${state.email ?? ""}` }),
};

export const invitations: View<Invitation> = {
  name: "invitations",
  version: 1,
  kind: invitation,
  columns: {
    name: { type: "text", value: (state) => state.name, filter: true, sort: true },
    /** Every view has a column `state` of its own: the route asks for this one when it is asked for `state`. */
    stateName: { type: "text", value: (state) => (state.member === null ? "open" : "accepted"), filter: true },
  },
  search: (state) => ({ title: state.title, text: `${state.name} ${state.email ?? ""}` }),
};

export const secrets: View<Secret> = {
  name: "secrets",
  version: 1,
  kind: secret,
  columns: { name: { type: "text", value: (state) => state.name, filter: true, sort: true } },
  search: (state) => ({ title: state.name, text: "" }),
};

export const identityViews: ReadonlyArray<View> = [organisations, members, invitations, tokens, secrets];
