/** Secrets in writes: named by reference until the moment of sending. */
import { isSecretReference } from "./configuration.ts";
import { isList, isObject, textOf } from "./json.ts";
import type { Json, JsonObject, QueryValue, Write } from "./report.ts";

/** How a secret goes to the device: as it is, or as the hash of its digest login in this realm. */
export type SecretUse = { readonly as: "plain" } | { readonly as: "ha1"; readonly realm: string };

/** The references in a write, each once. */
export function secretsIn(write: Write): ReadonlyArray<string> {
  const found = new Set<string>();
  replaced(argumentsOf(write), (reference) => {
    found.add(reference);
    return "";
  });
  return [...found];
}

/** The write as it is sent. Its result is for the wire alone: no event, log or answer may hold it. */
export function withSecrets(write: Write, secretOf: (reference: string, use: SecretUse) => string): Write {
  const { call } = write;
  const realm = "method" in call && /^shelly\.setauth$/i.test(call.method) ? textOf(call.params.realm) : undefined;
  const use: SecretUse = realm === undefined ? { as: "plain" } : { as: "ha1", realm };
  const filled = replaced(argumentsOf(write), (reference) => secretOf(reference, use));
  if ("method" in call) return { ...write, call: { method: call.method, params: filled } };
  return { ...write, call: { path: call.path, query: filled as Readonly<Record<string, QueryValue & Json>> } };
}

const argumentsOf = ({ call }: Write): JsonObject => ("method" in call ? call.params : (call.query as JsonObject));

function replaced(object: JsonObject, secretOf: (reference: string) => string): JsonObject {
  const inside = (value: Json): Json => {
    if (isSecretReference(value)) return secretOf(value.$secret);
    if (isList(value)) return value.map(inside);
    return isObject(value) ? replaced(value, secretOf) : value;
  };
  return Object.fromEntries(Object.entries(object).map(([name, value]) => [name, inside(value)]));
}
