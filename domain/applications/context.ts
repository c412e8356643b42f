/** The applications context: what runs, and how it gets there. */
import type { ContextDeclaration } from "../kind.ts";
import { application } from "./application.ts";
import { deployment } from "./deployment.ts";
import { upload } from "./upload.ts";

export const applications: ContextDeclaration = { name: "applications", kinds: { application, deployment, upload } };
