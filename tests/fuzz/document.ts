/** The API as its own OpenAPI document tells it, and a judge of JSON by the document's schemas. */
import { openapi } from "@millrace/contracts/openapi.ts";

export interface Schema {
  readonly $ref?: string;
  readonly type?: string;
  readonly pattern?: string;
  readonly enum?: ReadonlyArray<unknown>;
  readonly minLength?: number;
  readonly maxLength?: number;
  readonly minimum?: number;
  readonly maximum?: number;
  readonly minItems?: number;
  readonly maxItems?: number;
  readonly items?: Schema;
  readonly properties?: Readonly<Record<string, Schema>>;
  readonly propertyNames?: Schema;
  readonly patternProperties?: Readonly<Record<string, Schema>>;
  readonly required?: ReadonlyArray<string>;
  readonly additionalProperties?: boolean;
  readonly anyOf?: ReadonlyArray<Schema>;
  readonly allOf?: ReadonlyArray<Schema>;
  readonly not?: Schema;
  readonly examples?: ReadonlyArray<unknown>;
}

export interface Parameter {
  readonly name: string;
  readonly in: "path" | "query" | "header";
  readonly schema: Schema;
  readonly required: boolean;
}

export interface Operation {
  /** `work.openItem` */
  readonly id: string;
  /** In capitals. */
  readonly method: string;
  /** With `{org}` and the like in it. */
  readonly path: string;
  readonly permission: string;
  readonly parameters: ReadonlyArray<Parameter>;
  readonly body: Schema | undefined;
  /** Schema of each answer's body by status and content type; undefined: none. */
  readonly answers: ReadonlyMap<number, { readonly type: string; readonly schema: Schema } | undefined>;
}

type Json = any;

const document: Json = openapi();

const resolve = (value: Json): Json => {
  let found = value;
  while (typeof found?.$ref === "string") {
    found = found.$ref
      .slice(2)
      .split("/")
      .reduce((inner: Json, step: string) => inner[step], document);
  }
  return found;
};

export const OPERATIONS: ReadonlyArray<Operation> = Object.entries<Json>(document.paths).flatMap(([path, methods]) =>
  Object.entries<Json>(methods).map(([method, operation]): Operation => {
    const answers = Object.entries<Json>(operation.responses).map(([status, answer]) => {
      const content = Object.entries<Json>(resolve(answer).content ?? {})[0];
      return [Number(status), content && { type: content[0], schema: content[1].schema }] as const;
    });
    return {
      id: operation.operationId,
      method: method.toUpperCase(),
      path,
      permission: operation["x-permission"],
      parameters: (operation.parameters ?? []).map(resolve),
      body: operation.requestBody?.content["application/json"]?.schema,
      answers: new Map(answers),
    };
  }),
);

/** What a schema may say; one that says more cannot be judged, and must not pass for want of looking. */
const KNOWN = new Set([
  ...["$ref", "type", "pattern", "enum", "minLength", "maxLength", "minimum", "maximum", "minItems", "maxItems"],
  ...[
    "items",
    "properties",
    "propertyNames",
    "patternProperties",
    "required",
    "additionalProperties",
    "anyOf",
    "allOf",
    "not",
  ],
  ...["title", "description", "examples", "format", "default"],
]);

export const schemaOf = (schema: Schema): Schema => {
  const found: Schema = resolve(schema);
  const unknown = Object.keys(found).find((name) => !KNOWN.has(name));
  if (unknown !== undefined) throw new Error(`a schema says "${unknown}", which the judge does not know`);
  return found;
};

/**
 * @param sparse what is needed may be missing all the same: only some fields were asked for
 * @returns where and why the value is not as the schema says; undefined when it is
 */
export function whyNot(value: unknown, given: Schema, at = "", sparse = false): string | undefined {
  const schema = schemaOf(given);
  if (schema.anyOf?.every((one) => whyNot(value, one, at, sparse) !== undefined)) {
    return `${at}: none of ${schema.anyOf.length} forms`;
  }
  for (const one of schema.allOf ?? []) {
    const why = whyNot(value, one, at, sparse);
    if (why !== undefined) return why;
  }
  if (schema.not !== undefined && whyNot(value, schema.not, at, sparse) === undefined)
    return `${at}: is what it may not be`;
  if (schema.enum !== undefined && !schema.enum.includes(value)) return `${at}: none of ${schema.enum.join(", ")}`;
  switch (schema.type) {
    case undefined:
      return undefined;
    case "string":
      return ofString(value, schema, at);
    case "integer":
    case "number":
      return ofNumber(value, schema, at);
    case "array":
      return ofArray(value, schema, at, sparse);
    case "object":
      return ofObject(value, schema, at, sparse);
    case "null":
      return value === null ? undefined : `${at}: not null`;
    case "boolean":
      return typeof value === "boolean" ? undefined : `${at}: no boolean`;
    default:
      throw new Error(`a schema is of type "${schema.type}", which the judge does not know`);
  }
}

const patterns = new Map<string, RegExp>();
export function patternOf(text: string): RegExp {
  const known = patterns.get(text) ?? new RegExp(text, "u");
  patterns.set(text, known);
  return known;
}

function ofString(value: unknown, schema: Schema, at: string): string | undefined {
  if (typeof value !== "string") return `${at}: no text`;
  // Lengths count UTF-16 units here as the server does; the standard's code points are never more.
  if (schema.minLength !== undefined && value.length < schema.minLength)
    return `${at}: shorter than ${schema.minLength}`;
  if (schema.maxLength !== undefined && [...value].length > schema.maxLength)
    return `${at}: longer than ${schema.maxLength}`;
  if (schema.pattern !== undefined && !patternOf(schema.pattern).test(value)) return `${at}: not ${schema.pattern}`;
  return undefined;
}

function ofNumber(value: unknown, schema: Schema, at: string): string | undefined {
  if (typeof value !== "number") return `${at}: no number`;
  if (schema.type === "integer" && !Number.isInteger(value)) return `${at}: not whole`;
  if (schema.minimum !== undefined && value < schema.minimum) return `${at}: less than ${schema.minimum}`;
  if (schema.maximum !== undefined && value > schema.maximum) return `${at}: more than ${schema.maximum}`;
  return undefined;
}

function ofArray(value: unknown, schema: Schema, at: string, sparse: boolean): string | undefined {
  if (!Array.isArray(value)) return `${at}: no list`;
  if (schema.minItems !== undefined && value.length < schema.minItems) return `${at}: fewer than ${schema.minItems}`;
  if (schema.maxItems !== undefined && value.length > schema.maxItems) return `${at}: more than ${schema.maxItems}`;
  for (const [i, one] of value.entries()) {
    const why = schema.items === undefined ? undefined : whyNot(one, schema.items, `${at}/${i}`, sparse);
    if (why !== undefined) return why;
  }
  return undefined;
}

function ofObject(value: unknown, schema: Schema, at: string, sparse: boolean): string | undefined {
  if (typeof value !== "object" || value === null || Array.isArray(value)) return `${at}: no object`;
  for (const name of sparse ? [] : (schema.required ?? []))
    if (!Object.hasOwn(value, name)) return `${at}/${name}: is missing`;
  for (const [name, inner] of Object.entries(value)) {
    const misnamed =
      schema.propertyNames === undefined ? undefined : whyNot(name, schema.propertyNames, `${at}/${name}`);
    if (misnamed !== undefined) return misnamed;
    const of =
      schema.properties !== undefined && Object.hasOwn(schema.properties, name)
        ? schema.properties[name]
        : Object.entries(schema.patternProperties ?? {}).find(([pattern]) => patternOf(pattern).test(name))?.[1];
    if (of === undefined && schema.additionalProperties === false) return `${at}/${name}: is unknown`;
    const why = of === undefined ? undefined : whyNot(inner, of, `${at}/${name}`, sparse);
    if (why !== undefined) return why;
  }
  return undefined;
}
