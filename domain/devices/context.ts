/** The devices context: a fleet, known, kept as it is wanted, and never guessed at. */
import type { ContextDeclaration } from "../kind.ts";
import { device } from "./device.ts";

export const devices: ContextDeclaration = { name: "devices", kinds: { device } };
