/** The devices context: a fleet, known, kept as it is wanted, and never guessed at. */
import type { ContextDeclaration } from "../kind.ts";
import { device } from "./device.ts";
import { group } from "./group.ts";
import { profile } from "./profile.ts";
import { task } from "./task.ts";

export const devices: ContextDeclaration = { name: "devices", kinds: { device, task, profile, group } };
