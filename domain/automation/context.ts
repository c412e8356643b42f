/** The automation context: what happens by itself. */
import type { ContextDeclaration } from "../kind.ts";
import { alert } from "./alert.ts";
import { process } from "./process.ts";
import { rule } from "./rule.ts";
import { schedule } from "./schedule.ts";

export const automation: ContextDeclaration = { name: "automation", kinds: { schedule, rule, process, alert } };
