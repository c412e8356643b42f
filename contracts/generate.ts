/** Writes the committed descriptions of the API and of the events: `node contracts/generate.ts`. */
import { writeFileSync } from "node:fs";
import { asyncapi } from "./asyncapi.ts";
import { openapi } from "./openapi.ts";

for (const [file, document] of [
  ["openapi.json", openapi()],
  ["asyncapi.json", asyncapi()],
] as const) {
  writeFileSync(new URL(file, import.meta.url), `${JSON.stringify(document, null, 2)}\n`);
}
