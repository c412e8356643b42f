/** Members, invitations, roles; one's own profile; and why somebody may do something, or may not. */
import * as HttpApiEndpoint from "effect/http-api/HttpApiEndpoint";
import * as HttpApiGroup from "effect/http-api/HttpApiGroup";
import * as OpenApi from "effect/http-api/OpenApi";
import * as Schema from "effect/Schema";
import { changeOf, createOf, deleteOf, getOf, listOf } from "../endpoints.ts";
import {
  changeHeaders,
  commandHeaders,
  created,
  entity,
  entityParams,
  ORGANISATION,
  organisationParams,
  says,
  Time,
  textFilter,
} from "../http.ts";
import { Id, Name, Reference } from "../ids.ts";
import { diffOf, historyOf } from "../past.ts";
import { Grant } from "../permissions.ts";
import { Avatar, Email, Profile, ProfileSettings, RoleGrant } from "./access-events.ts";
import { CreatedToken, Token } from "./api.ts";
import { Timestamp, Title } from "./events.ts";
import { ACCESS_LIMITS, Binding, Place } from "./roles.ts";

const { optionalKey } = Schema;

export const Member = entity(
  Id("usr", "Member id"),
  Schema.Struct({
    name: Name,
    title: Title,
    email: optionalKey(Email),
    avatar: optionalKey(Avatar),
    settings: ProfileSettings,
    roles: Schema.Array(Binding),
  }),
  Schema.Struct({ invitation: Schema.String.annotate({ description: "Id of the invitation that was accepted" }) }),
).annotate({ identifier: "Member", description: "A person, as a member of one organisation" });

export const Invitation = entity(
  Id("inv", "Invitation id"),
  Schema.Struct({
    name: Name,
    title: Title,
    email: optionalKey(Email),
    role: Binding,
    expiresAt: Time,
  }),
  Schema.Struct({
    state: Schema.Literals(["open", "accepted"]).annotate({
      description: "`open` also when it has expired: nobody can accept it then",
    }),
    last8: Schema.String.annotate({ description: "The last eight digits of the secret" }),
    createdBy: Schema.String,
    member: optionalKey(Schema.String.annotate({ description: "Who accepted it" })),
  }),
).annotate({ identifier: "Invitation" });

export const Role = entity(
  Schema.String.annotate({ description: "`rol_…`; of a role that comes with the product, its name" }),
  Schema.Struct({ name: Name, title: Title, description: Schema.String, grants: Schema.Array(RoleGrant) }),
  Schema.Struct({ builtIn: Schema.Boolean }),
).annotate({ identifier: "Role" });

const RoleText = Schema.String.check(Schema.isMaxLength(1_000)).annotate({ description: "What it is for" });
const RoleGrants = Schema.Array(RoleGrant).check(Schema.isMaxLength(ACCESS_LIMITS.grantsOfRole));

export const Give = Schema.Struct({
  role: Reference.annotate({ description: "Name of a role, or the id of one of your own" }),
  at: optionalKey(Place),
}).annotate({ identifier: "GiveRole" });
export const Invite = Schema.Struct({
  name: Name.annotate({ description: "The name that the member will have" }),
  title: optionalKey(Title),
  email: optionalKey(Email),
  role: Reference,
  at: optionalKey(Place),
  expiresAt: optionalKey(Timestamp),
}).annotate({
  identifier: "Invite",
  description: `Without \`expiresAt\` it can be accepted for seven days; ${ACCESS_LIMITS.invitationDays} at the most`,
});
export const CreatedInvitation = Schema.Struct({
  ...Invitation.fields,
  secret: optionalKey(
    Schema.String.annotate({ description: "What accepts it, once. Shown this once, and not in a repeated answer." }),
  ),
}).annotate({ identifier: "CreatedInvitation" });
export const Accept = Schema.Struct({
  secret: Schema.String.check(Schema.isPattern(/^mri_[0-9A-Za-z]{46}$/u)),
  name: optionalKey(Name.annotate({ description: "Another name than the invitation's" })),
  title: optionalKey(Title),
}).annotate({ identifier: "AcceptInvitation" });
export const Accepted = Schema.Struct({
  member: Member,
  token: Token,
  secret: Schema.String.annotate({ description: "The new member's own token. Shown this once." }),
}).annotate({ identifier: "AcceptedInvitation" });
export const ChangeProfile = Schema.Struct(Profile).annotate({
  identifier: "ChangeProfile",
  description: "What is left out stays; `null` takes e-mail or avatar off. `settings` are replaced as a whole",
});
export const OwnToken = Schema.Struct({
  name: Name,
  grants: optionalKey(Schema.Array(Grant).check(Schema.isMaxLength(100))),
  expiresAt: optionalKey(Timestamp),
}).annotate({
  identifier: "CreateOwnToken",
  description: "Without `grants` it may do whatever you may, and this token allows",
});
export const DefineRole = Schema.Struct({
  name: Name,
  title: optionalKey(Title),
  description: optionalKey(RoleText),
  grants: RoleGrants,
}).annotate({ identifier: "DefineRole" });
export const ChangeRole = Schema.Struct({
  title: optionalKey(Title),
  description: optionalKey(RoleText),
  grants: optionalKey(RoleGrants),
}).annotate({ identifier: "ChangeRole", description: "What is left out stays. The name does not change" });

const Held = Schema.Struct({
  layer: Schema.Literals(["member", "token"]),
  id: Schema.String.annotate({ description: "Of the member or token that holds it" }),
  name: Schema.String,
});
export const Explanation = Schema.Struct({
  subject: Schema.Struct({ kind: Schema.Literals(["member", "token"]), id: Schema.String, name: Schema.String }),
  permission: Schema.String,
  resource: Schema.String.annotate({ description: "The resource, or the organisation" }),
  lineage: Schema.Array(Schema.String).annotate({
    description: "Ids that a grant may name for it to hold here: the resource's, its parents', the organisation's",
  }),
  allowed: Schema.Boolean,
  because: Schema.Array(
    Schema.Struct({
      ...Held.fields,
      grant: Schema.String,
      role: optionalKey(Schema.String),
      at: optionalKey(Schema.String),
      sentence: Schema.String,
    }),
  ).annotate({ description: "Every grant that gives it, and the role it comes from" }),
  missing: Schema.Array(
    Schema.Struct({
      ...Held.fields,
      grants: Schema.Array(Schema.String).annotate({ description: "Any one of these would do" }),
      roles: Schema.Array(Schema.String).annotate({ description: "Roles that hold it" }),
      sentence: Schema.String,
    }),
  ).annotate({ description: "What stands in the way; empty when it is allowed" }),
}).annotate({ identifier: "Explanation" });

const members = `${ORGANISATION}/members` as const;
const member = `${members}/:id` as const;
const invitations = `${ORGANISATION}/invitations` as const;
const invitation = `${invitations}/:id` as const;
const roles = `${ORGANISATION}/roles` as const;
const role = `${roles}/:id` as const;
const profile = `${ORGANISATION}/profile` as const;
const token = `${ORGANISATION}/tokens/:id` as const;
const GIVING =
  "Nobody gives or takes what they do not hold themselves: that is refused by the rule `grant-beyond-own`. It holds within a second, everywhere.";

const memberEndpoints = HttpApiGroup.make("members")
  .add(
    listOf("listMembers", members, Member, {
      name: textFilter("Their name"),
      role: textFilter("Name of a role they have, anywhere"),
    }).annotateMerge(says("identity:read", "List members", "`q` finds words of name, title and e-mail.")),
  )
  .add(
    getOf("getMember", member, Member).annotateMerge(
      says("identity:read", "A member by id or name, as it is or as it was"),
    ),
  )
  .add(
    deleteOf("removeMember", member).annotateMerge(
      says("identity:members", "Remove a member; their tokens are refused within a second", "The last owner stays."),
    ),
  )
  .add(
    HttpApiEndpoint.post("giveRole", `${member}/bind`, {
      params: entityParams,
      headers: changeHeaders,
      payload: Give,
      success: Member,
    }).annotateMerge(says("identity:members", "Give a role to a member", GIVING)),
  )
  .add(
    HttpApiEndpoint.post("takeRole", `${member}/unbind`, {
      params: entityParams,
      headers: changeHeaders,
      payload: Give,
      success: Member,
    }).annotateMerge(says("identity:members", "Take a role from a member", `${GIVING} The last owner stays one.`)),
  )
  .add(historyOf("historyOfMember", member).annotateMerge(says("identity:read", "What happened to a member")))
  .add(
    diffOf("diffMember", member).annotateMerge(says("identity:read", "What differs between two moments of a member")),
  )
  .add(
    HttpApiEndpoint.post("giveRoleToToken", `${token}/bind`, {
      params: entityParams,
      headers: changeHeaders,
      payload: Give,
      success: Token,
    }).annotateMerge(says("identity:tokens", "Give a role to a token that is no person's", GIVING)),
  )
  .add(
    HttpApiEndpoint.post("takeRoleFromToken", `${token}/unbind`, {
      params: entityParams,
      headers: changeHeaders,
      payload: Give,
      success: Token,
    }).annotateMerge(says("identity:tokens", "Take a role from a token", GIVING)),
  );

const profileEndpoints = memberEndpoints
  .add(
    HttpApiEndpoint.get("getProfile", profile, { params: organisationParams, success: Member }).annotateMerge(
      says("identity:self", "Oneself, as a member", "A token that is no person's is answered 404."),
    ),
  )
  .add(
    HttpApiEndpoint.patch("changeProfile", profile, {
      params: organisationParams,
      headers: changeHeaders,
      payload: ChangeProfile,
      success: Member,
    }).annotateMerge(says("identity:self", "Change one's own title, e-mail, avatar, settings")),
  )
  .add(
    HttpApiEndpoint.post("createOwnToken", `${profile}/tokens`, {
      params: organisationParams,
      headers: commandHeaders,
      payload: OwnToken,
      success: created(CreatedToken),
    }).annotateMerge(
      says(
        "identity:self",
        "Create a token for oneself; its secret is shown this once",
        "It may do what both you and its own grants allow at the time, and no more than the token that makes it.",
      ),
    ),
  );

const invitationEndpoints = profileEndpoints
  .add(
    createOf("invite", invitations, Invite, CreatedInvitation).annotateMerge(
      says("identity:members", "Invite somebody; the secret is shown this once", GIVING),
    ),
  )
  .add(
    listOf("listInvitations", invitations, Invitation, {
      name: textFilter("Name that the member will have"),
      state: optionalKey(Schema.Literals(["open", "accepted"])),
    }).annotateMerge(says("identity:members", "List invitations")),
  )
  .add(
    getOf("getInvitation", invitation, Invitation).annotateMerge(
      says("identity:members", "An invitation, as it is or as it was"),
    ),
  )
  .add(
    deleteOf("revokeInvitation", invitation).annotateMerge(
      says("identity:members", "Revoke an invitation that was not accepted"),
    ),
  )
  .add(
    historyOf("historyOfInvitation", invitation).annotateMerge(
      says("identity:members", "What happened to an invitation"),
    ),
  )
  .add(
    diffOf("diffInvitation", invitation).annotateMerge(
      says("identity:members", "What differs between two moments of an invitation"),
    ),
  )
  .add(
    HttpApiEndpoint.post("acceptInvitation", "/v1/invitations/accept", {
      payload: Accept,
      success: created(Accepted),
    })
      .annotateMerge(
        says(
          "public",
          "Accept an invitation: become a member, and get a token",
          "Takes no token: the secret is what lets in, once. An invitation is worth what its maker may give at this moment.",
        ),
      )
      .annotateMerge(OpenApi.annotations({ override: { security: [] } })),
  );

export const membersApi = invitationEndpoints
  .add(
    HttpApiEndpoint.get("listRoles", roles, {
      params: organisationParams,
      success: Schema.Struct({ items: Schema.Array(Role) }),
    }).annotateMerge(says("identity:read", "Every role: those that come with the product, and your own")),
  )
  .add(createOf("defineRole", roles, DefineRole, Role).annotateMerge(says("identity:roles", "Define a role", GIVING)))
  .add(getOf("getRole", role, Role).annotateMerge(says("identity:read", "A role by name or id, as it is or as it was")))
  .add(
    changeOf("changeRole", role, ChangeRole, Role).annotateMerge(
      says("identity:roles", "Change a role of your own", GIVING),
    ),
  )
  .add(
    deleteOf("deleteRole", role).annotateMerge(
      says("identity:roles", "Delete a role of your own: who has it can do nothing by it any more"),
    ),
  )
  .add(historyOf("historyOfRole", role).annotateMerge(says("identity:read", "What happened to a role")))
  .add(diffOf("diffRole", role).annotateMerge(says("identity:read", "What differs between two moments of a role")))
  .add(
    HttpApiEndpoint.get("explain", `${ORGANISATION}/permissions/explain`, {
      params: organisationParams,
      query: {
        subject: optionalKey(Reference.annotate({ description: "Id of a member or token; left out: yourself" })),
        permission: Schema.String.check(Schema.isPattern(/^[a-z]{1,32}:[a-z]{1,32}$/u)).annotate({
          description: "What is to be done",
          examples: ["applications:deploy"],
        }),
        resource: optionalKey(Reference.annotate({ description: "Id of a resource; left out: the organisation" })),
      },
      success: Explanation,
    }).annotateMerge(
      says(
        "authenticated",
        "Why somebody may do something, or may not, and what is missing",
        "About oneself anybody may ask; about others it takes `identity:members`.",
      ),
    ),
  )
  .annotateMerge(OpenApi.annotations({ title: "Members", description: "People, and what they may do" }));
