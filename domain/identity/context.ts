/** The identity context: who may do what. */
import type { ContextDeclaration } from "../kind.ts";
import { organisation } from "./organisation.ts";
import { secret } from "./secret.ts";
import { token } from "./token.ts";

export const identity: ContextDeclaration = { name: "identity", kinds: { organisation, token, secret } };
