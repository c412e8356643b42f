/** The publishing context: repositories of Flatpaks. */
import type { ContextDeclaration } from "../kind.ts";
import { repository } from "./repository.ts";

export const publishing: ContextDeclaration = { name: "publishing", kinds: { repository } };
