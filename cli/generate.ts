/**
 * Writes what is generated from the contracts and the command table: `cli/operations.ts` and `docs/reference/cli.md`.
 * Run it after a change of either: `node cli/generate.ts`; a test finds a drift.
 */
import { writeFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { Api } from "@millrace/contracts/api.ts";
import { PREFIXES } from "@millrace/contracts/ids.ts";
import { Requires } from "@millrace/contracts/permissions.ts";
import * as Context from "effect/Context";
import * as HttpApi from "effect/http-api/HttpApi";
import * as OpenApi from "effect/http-api/OpenApi";

const OPERATIONS_FILE = fileURLToPath(new URL("./operations.ts", import.meta.url));
const REFERENCE_FILE = fileURLToPath(new URL("../docs/reference/cli.md", import.meta.url));

interface Operation {
  readonly method: string;
  readonly path: string;
  readonly summary: string;
  readonly needs: string;
  /** Fields of the query with what they mean, and the values they may have where these are few. */
  readonly query: Readonly<Record<string, QueryField>>;
  readonly ifMatch: boolean;
}

interface QueryField {
  readonly says: string;
  readonly choices?: readonly string[];
}

interface Collection {
  readonly collection: string;
  readonly kind: string;
}

interface FieldSchema {
  readonly description?: string;
  readonly enum?: readonly string[];
  readonly allOf?: readonly FieldSchema[];
}

const fieldOf = (schema: FieldSchema): QueryField => ({
  says: schema.description ?? schema.allOf?.find((part) => part.description)?.description ?? "",
  ...(schema.enum ? { choices: schema.enum } : {}),
});

interface Described {
  readonly operationId: string;
  readonly summary?: string;
  readonly parameters?: ReadonlyArray<{ readonly in: string; readonly name: string; readonly schema: FieldSchema }>;
  readonly responses: Readonly<Record<string, unknown>>;
}

/** The permission that each operation declares, by its name. */
function permissions(): Map<string, string> {
  const needs = new Map<string, string>();
  HttpApi.reflect(Api as unknown as HttpApi.Top, {
    onGroup: () => {},
    onEndpoint({ endpoint, mergedAnnotations }) {
      needs.set(endpoint.identifier, Context.getOrUndefined(mergedAnnotations, Requires) ?? "public");
    },
  });
  return needs;
}

/** Every operation of the API by name, and every collection with the kind that lies in it. */
export function readApi(): { operations: Record<string, Operation>; collections: Collection[] } {
  const { paths, components } = OpenApi.fromApi(Api) as unknown as {
    paths: Record<string, Record<string, Described>>;
    components: { schemas: Record<string, unknown> };
  };
  const needs = permissions();
  const kinds = new Map<string, string>(Object.entries(PREFIXES).map(([kind, prefix]) => [prefix, kind]));
  const operations: Record<string, Operation> = {};
  const collections: Collection[] = [];
  for (const [braced, methods] of Object.entries(paths)) {
    const path = braced.replace(/\{([a-zA-Z]+)\}/g, ":$1");
    for (const [method, { operationId, summary, parameters = [], responses }] of Object.entries(methods)) {
      const name = operationId.slice(operationId.indexOf(".") + 1);
      if (operations[name] !== undefined) throw new Error(`two operations are called ${name}`);
      operations[name] = {
        method: method.toUpperCase(),
        path,
        summary: summary ?? name,
        needs: needs.get(name) ?? "public",
        query: Object.fromEntries(
          parameters.filter(({ in: place }) => place === "query").map(({ name, schema }) => [name, fieldOf(schema)]),
        ),
        ifMatch: parameters.some((parameter) => parameter.in === "header" && parameter.name === "if-match"),
      };
      const entity = /^\/v1\/(?:organisations\/:org\/([a-z-]+)\/:id|(organisations)\/:org)$/.exec(path);
      if (method !== "get" || entity === null) continue;
      const prefix = prefixIn(responses["200"], components.schemas);
      // Built-in types of work have no id of their own, so theirs has no pattern: `getType` reads a `….type`.
      const word = name.replace(/^get/, "").toLowerCase();
      const kind =
        prefix === undefined ? [...kinds.values()].find((known) => known.endsWith(`.${word}`)) : kinds.get(prefix);
      if (kind !== undefined) collections.push({ collection: entity[1] ?? entity[2]!, kind });
    }
  }
  return { operations, collections };
}

/** The prefix that the pattern of an answered entity's id asks for. */
function prefixIn(response: unknown, schemas: Readonly<Record<string, unknown>>): string | undefined {
  const reference = /"#\/components\/schemas\/([^"]+)"/.exec(JSON.stringify(response ?? null))?.[1];
  const schema = (reference === undefined ? undefined : schemas[reference]) as
    | { readonly properties?: { readonly id?: unknown } }
    | undefined;
  return /\^\(([a-z]+)\)_/.exec(JSON.stringify(schema?.properties?.id ?? null))?.[1];
}

export function operationsSource(): string {
  const { operations, collections } = readApi();
  const lines = Object.entries(operations).map(([name, operation]) => `  ${name}: ${JSON.stringify(operation)},`);
  return [
    "/** Generated by cli/generate.ts from contracts/api.ts: the API without the weight of its schemas. Do not edit. */",
    "// biome-ignore-all format: generated",
    "export const OPERATIONS = {",
    ...lines,
    "} as const;",
    "",
    "/** Collections whose entities can be shown one by one, and the kind that lies in each. */",
    "export const COLLECTIONS = [",
    ...collections.map((collection) => `  ${JSON.stringify(collection)},`),
    "] as const;",
    "",
  ].join("\n");
}

if (import.meta.main) {
  writeFileSync(OPERATIONS_FILE, operationsSource());
  if (process.argv[2] !== "operations") {
    const { referencePage } = await import("./reference.ts");
    writeFileSync(REFERENCE_FILE, referencePage());
  }
}
