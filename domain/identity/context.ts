/** The identity context: who may do what. */
import type { ContextDeclaration } from "../kind.ts";
import { invitation } from "./invitation.ts";
import { member } from "./member.ts";
import { organisation } from "./organisation.ts";
import { role } from "./role.ts";
import { secret } from "./secret.ts";
import { token } from "./token.ts";

export const identity: ContextDeclaration = {
  name: "identity",
  kinds: { organisation, member, invitation, role, token, secret },
};
