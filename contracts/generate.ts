/** Writes the committed descriptions of the API: `node contracts/generate.ts`. */
import { writeFileSync } from "node:fs";
import { openapi } from "./openapi.ts";

writeFileSync(new URL("openapi.json", import.meta.url), `${JSON.stringify(openapi(), null, 2)}\n`);
