/** The devices context: a fleet, known, kept as it is wanted, and never guessed at. */
import type { ContextDeclaration } from "../kind.ts";
import { bulk } from "./bulk.ts";
import { device } from "./device.ts";
import { group } from "./group.ts";
import { profile } from "./profile.ts";
import { rollout } from "./rollout.ts";
import { scan } from "./scan.ts";
import { sync } from "./sync.ts";
import { task } from "./task.ts";

export const devices: ContextDeclaration = {
  name: "devices",
  kinds: { device, task, bulk, profile, group, rollout, scan, sync },
};
