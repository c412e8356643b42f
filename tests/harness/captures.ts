/** Where the captures of real devices stand, on machines that have them: they are not part of this repository. */
import { existsSync } from "node:fs";
import { resolve } from "node:path";
import { fileURLToPath } from "node:url";

/** @returns the folder of a model (or `_protocol`), or undefined: skip, with a reason */
export function captures(folder: string): string | undefined {
  const beside = fileURLToPath(new URL("../../../shared/fixtures", import.meta.url));
  const found = resolve(process.env.MILLRACE_FIXTURES ?? beside, "shelly", folder);
  return existsSync(found) ? found : undefined;
}
