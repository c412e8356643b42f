/** Organisations, tokens, secrets, and who one is. */
import * as HttpApiEndpoint from "effect/http-api/HttpApiEndpoint";
import * as HttpApiGroup from "effect/http-api/HttpApiGroup";
import * as HttpApiSchema from "effect/http-api/HttpApiSchema";
import * as OpenApi from "effect/http-api/OpenApi";
import * as Schema from "effect/Schema";
import { createOf, listOf } from "../endpoints.ts";
import {
  booleanFilter,
  changeHeaders,
  commandHeaders,
  created,
  Differences,
  diffQuery,
  entity,
  entityParams,
  listQuery,
  ORGANISATION,
  organisationParams,
  page,
  queryHeaders,
  readQuery,
  says,
  Time,
  textFilter,
} from "../http.ts";
import { Id, Name } from "../ids.ts";
import { diffOf, historyOf } from "../past.ts";
import { Grant } from "../permissions.ts";
import { OrganisationSettings, Timestamp, Title } from "./events.ts";
import { Binding } from "./roles.ts";

export const Organisation = entity(
  Id("org", "Organisation id"),
  Schema.Struct({ name: Name, title: Title, settings: OrganisationSettings }),
  Schema.Struct({ archivedAt: Schema.optionalKey(Time) }),
).annotate({ identifier: "Organisation" });

export const CreateOrganisation = Schema.Struct({
  name: Name,
  title: Schema.optionalKey(Title),
  settings: Schema.optionalKey(OrganisationSettings),
}).annotate({ identifier: "CreateOrganisation" });

export const ChangeOrganisation = Schema.Struct({
  name: Schema.optionalKey(Name),
  title: Schema.optionalKey(Title),
  settings: Schema.optionalKey(OrganisationSettings),
}).annotate({ identifier: "ChangeOrganisation", description: "What is left out stays as it is" });

const Grants = Schema.Array(Grant).check(Schema.isMaxLength(100));

export const Token = entity(
  Id("tok", "Token id"),
  Schema.Struct({
    name: Name,
    grants: Grants,
    expiresAt: Schema.optionalKey(Time),
    installation: Schema.Boolean.annotate({ description: "May act on every organisation and create new ones" }),
    member: Schema.optionalKey(
      Schema.String.annotate({ description: "Id of the member whose it is: it never does more than they may" }),
    ),
    roles: Schema.optionalKey(Schema.Array(Binding)),
  }),
  Schema.Struct({
    last8: Schema.String.annotate({ description: "The last eight digits of the secret, to tell tokens apart" }),
    uses: Schema.Int.annotate({ description: "Requests made with it; counted about once a minute" }),
    lastUsedAt: Schema.optionalKey(Time),
    createdBy: Schema.String,
  }),
).annotate({ identifier: "Token" });

export const CreateToken = Schema.Struct({
  name: Name,
  grants: Grants,
  expiresAt: Schema.optionalKey(Timestamp),
}).annotate({ identifier: "CreateToken" });

export const CreatedToken = Schema.Struct({
  ...Token.fields,
  secret: Schema.optionalKey(
    Schema.String.annotate({ description: "The token itself. Shown this once, and not in a repeated answer." }),
  ),
}).annotate({ identifier: "CreatedToken" });

export const Whoami = Schema.Struct({
  token: Schema.Struct({ id: Schema.String, name: Schema.String, expiresAt: Schema.optionalKey(Time) }),
  organisation: Schema.Struct({ id: Schema.String, name: Schema.String, title: Schema.String }),
  grants: Schema.Array(Schema.String),
  installation: Schema.Boolean,
  member: Schema.optionalKey(
    Schema.Struct({ id: Schema.String, name: Schema.String, title: Schema.String, roles: Schema.Array(Binding) }),
  ),
}).annotate({ identifier: "Whoami" });

const tokens = `${ORGANISATION}/tokens` as const;

const organisationEndpoints = HttpApiGroup.make("identity")
  .add(
    HttpApiEndpoint.get("whoami", "/v1/whoami", { success: Whoami }).annotateMerge(
      says("authenticated", "Who the token is, and what it may do"),
    ),
  )
  .add(
    HttpApiEndpoint.post("createOrganisation", "/v1/organisations", {
      headers: commandHeaders,
      payload: CreateOrganisation,
      success: created(Organisation),
    }).annotateMerge(says("identity:install", "Create an organisation")),
  )
  .add(
    HttpApiEndpoint.get("listOrganisations", "/v1/organisations", {
      headers: queryHeaders,
      query: listQuery({ name: textFilter("Its name"), archived: booleanFilter("Archived ones, or the others") }),
      success: page(Organisation),
    }).annotateMerge(says("identity:read", "List the organisations that the token can see")),
  )
  .add(
    HttpApiEndpoint.get("getOrganisation", ORGANISATION, {
      params: organisationParams,
      query: readQuery,
      success: Organisation,
    }).annotateMerge(says("identity:read", "An organisation, as it is or as it was")),
  )
  .add(
    HttpApiEndpoint.patch("changeOrganisation", ORGANISATION, {
      params: organisationParams,
      headers: changeHeaders,
      payload: ChangeOrganisation,
      success: Organisation,
    }).annotateMerge(says("identity:manage", "Rename an organisation, change its title or settings")),
  )
  .add(
    HttpApiEndpoint.post("archiveOrganisation", `${ORGANISATION}/archive`, {
      params: organisationParams,
      headers: changeHeaders,
      success: Organisation,
    }).annotateMerge(says("identity:install", "Archive an organisation: it can be read, and changed no more")),
  )
  .add(
    HttpApiEndpoint.get("diffOrganisation", `${ORGANISATION}/diff`, {
      params: organisationParams,
      query: diffQuery,
      success: Differences,
    }).annotateMerge(says("identity:read", "What differs between two moments of an organisation")),
  );

export const identityApi = organisationEndpoints
  .add(
    createOf("createToken", tokens, CreateToken, CreatedToken).annotateMerge(
      says("identity:tokens", "Create a token; its secret is shown this once"),
    ),
  )
  .add(
    listOf("listTokens", tokens, Token, {
      name: textFilter("Its name"),
      grants: textFilter("A grant it holds, as written"),
      member: textFilter("Id of the member whose it is"),
    }).annotateMerge(says("identity:tokens", "List tokens")),
  )
  .add(
    HttpApiEndpoint.get("getToken", `${tokens}/:id`, {
      params: entityParams,
      query: readQuery,
      success: Token,
    }).annotateMerge(says("identity:tokens", "A token, as it is or as it was")),
  )
  .add(
    HttpApiEndpoint.delete("revokeToken", `${tokens}/:id`, {
      params: entityParams,
      headers: changeHeaders,
      success: HttpApiSchema.NoContent,
    }).annotateMerge(says("identity:tokens", "Revoke a token; it is refused within a second")),
  )
  .add(historyOf("historyOfToken", `${tokens}/:id`).annotateMerge(says("identity:tokens", "What happened to a token")))
  .add(
    diffOf("diffToken", `${tokens}/:id`).annotateMerge(
      says("identity:tokens", "What differs between two moments of a token"),
    ),
  )
  .annotateMerge(OpenApi.annotations({ title: "Identity", description: "Who may do what" }));
