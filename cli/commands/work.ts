/** Work items and their types. */
import type { Command } from "../table.ts";

export const workCommands: readonly Command[] = [];
