/** The publishing context: repositories of Flatpaks, and builds on their way into them. */
import type { ContextDeclaration } from "../kind.ts";
import { build } from "./build.ts";
import { clientToken } from "./client-token.ts";
import { repository } from "./repository.ts";

export const publishing: ContextDeclaration = {
  name: "publishing",
  kinds: { repository, build, clienttoken: clientToken },
};
