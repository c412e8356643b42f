/** Types of what rules can speak of, made of the schemas in the contracts: so that a path that leads nowhere is found when a rule is stored. */
import type { PublicEvents } from "@millrace/contracts/events.ts";
import * as JsonSchema from "effect/JsonSchema";
import * as Schema from "effect/Schema";

export type Type =
  | { readonly is: "any" | "string" | "number" | "boolean" | "null" }
  | { readonly is: "list"; readonly of: Type }
  /** `open`: it may have members beside these. */
  | { readonly is: "object"; readonly fields: Readonly<Record<string, Type>>; readonly open: boolean };

export const ANY: Type = { is: "any" };
export const STRING: Type = { is: "string" };
export const NUMBER: Type = { is: "number" };
export const BOOLEAN: Type = { is: "boolean" };

export const objectOf = (fields: Readonly<Record<string, Type>>): Type => ({ is: "object", fields, open: false });

/** What may be either: members of both, and where they differ anything. */
export function unite(a: Type, b: Type): Type {
  if (a.is === "null") return b;
  if (b.is === "null" || JSON.stringify(a) === JSON.stringify(b)) return a;
  if (a.is === "list" && b.is === "list") return { is: "list", of: unite(a.of, b.of) };
  if (a.is !== "object" || b.is !== "object") return ANY;
  const fields: Record<string, Type> = { ...a.fields };
  for (const [name, type] of Object.entries(b.fields)) {
    fields[name] = Object.hasOwn(fields, name) ? unite(fields[name]!, type) : type;
  }
  return { is: "object", fields, open: a.open || b.open };
}

const uniteAll = (types: ReadonlyArray<Type>): Type => (types.length === 0 ? ANY : types.reduce(unite));

const DEPTH_MOST = 12;

function read(schema: any, definitions: Readonly<Record<string, any>>, depth: number): Type {
  if (typeof schema !== "object" || schema === null || depth > DEPTH_MOST) return ANY;
  const go = (inner: unknown) => read(inner, definitions, depth + 1);
  if (typeof schema.$ref === "string") return go(definitions[schema.$ref.slice(schema.$ref.lastIndexOf("/") + 1)]);
  const either = schema.anyOf ?? schema.oneOf;
  if (Array.isArray(either)) return uniteAll(either.map(go));
  if (Array.isArray(schema.allOf) && schema.type === undefined) return uniteAll(schema.allOf.map(go));
  if (Array.isArray(schema.type)) return uniteAll(schema.type.map((type: string) => go({ ...schema, type })));
  if (schema.type === undefined && Array.isArray(schema.enum)) {
    return uniteAll(schema.enum.map((value: unknown) => ({ is: typeof value }) as Type));
  }
  switch (schema.type) {
    case "string":
    case "boolean":
    case "null":
      return { is: schema.type };
    case "integer":
    case "number":
      return NUMBER;
    case "array":
      return { is: "list", of: schema.items === undefined ? ANY : go(schema.items) };
    case "object": {
      const fields = Object.fromEntries(Object.entries(schema.properties ?? {}).map(([name, one]) => [name, go(one)]));
      return { is: "object", fields, open: schema.additionalProperties !== false && schema.properties === undefined };
    }
    default:
      return ANY;
  }
}

const known = new WeakMap<object, Type>();

/** The type of what a schema describes, as JSON. */
export function typeOf(schema: Schema.Top): Type {
  let type = known.get(schema);
  if (type === undefined) {
    const { schema: root, definitions } = JsonSchema.toDocumentDraft07(Schema.toJsonSchemaDocument(schema));
    type = read(root, definitions, 0);
    known.set(schema, type);
  }
  return type;
}

/** The data of whichever of these events it is. */
export const typeOfEvents = (events: PublicEvents, types: ReadonlyArray<string>): Type =>
  uniteAll(types.map((type) => typeOf(events[type]!.data)));

/** What a member is; undefined: there is none. */
export function member(type: Type, name: string | number): Type | undefined {
  if (type.is === "any") return ANY;
  if (typeof name === "number") return type.is === "list" ? type.of : undefined;
  if (type.is !== "object") return undefined;
  if (Object.hasOwn(type.fields, name)) return type.fields[name];
  return type.open ? ANY : undefined;
}

export type Path = ReadonlyArray<string | number>;

export const pathText = (path: Path): string =>
  path.map((step, i) => (typeof step === "number" ? `[${step}]` : i === 0 ? step : `.${step}`)).join("");

/** The type at the end of a path, or what is wrong with it. */
export function typeAt(type: Type, path: Path): Type | { readonly fault: string } {
  let at = type;
  for (const [i, step] of path.entries()) {
    const next = member(at, step);
    if (next === undefined) {
      const there = at.is === "object" ? Object.keys(at.fields).slice(0, 30).join(", ") : `a ${at.is}`;
      const before = i === 0 ? "there" : `in ${pathText(path.slice(0, i))}`;
      return { fault: `${pathText(path)} leads nowhere: ${before} is ${there === "" ? "nothing" : there}` };
    }
    at = next;
  }
  return at;
}

/** The value at the end of a path; undefined: it is not there. Only own members are. */
export function valueAt(value: unknown, path: Path): unknown {
  let at = value;
  for (const step of path) {
    if (typeof at !== "object" || at === null || !Object.hasOwn(at, step)) return undefined;
    at = (at as Record<string | number, unknown>)[step];
  }
  return at;
}
