/** Errors of RPC (reference, 2.3), and how arguments are read. */
import { isObject } from "../auth.ts";
import type { Json, JsonObject } from "../face.ts";

export class RpcError extends Error {
  readonly code: number;

  /** @param code −103 invalid argument · −105 not found · −108 exhausted · −109 failed precondition · −114 unavailable · 404 · 401 · 429. */
  constructor(code: number, message: string) {
    super(message);
    this.code = code;
  }
}

const wrong = (name: string, expected: string) =>
  new RpcError(-103, `Argument '${name}' has invalid type; expected ${expected}!`);

type Types = { string: string; number: number; boolean: boolean; object: JsonObject };

const is = (value: Json, type: keyof Types): boolean =>
  type === "object" ? isObject(value) : type === "number" ? Number.isFinite(value) : typeof value === type;

/** An argument that must be there. */
export function need<T extends keyof Types>(params: JsonObject, name: string, type: T): Types[T] {
  const value = may(params, name, type);
  if (value === undefined) throw new RpcError(-103, `Missing required argument '${name}'!`);
  return value;
}

/** An argument that may be there; null is as good as absent. */
export function may<T extends keyof Types>(params: JsonObject, name: string, type: T): Types[T] | undefined {
  const value = params[name];
  if (value === undefined || value === null) return undefined;
  if (!is(value, type)) throw wrong(name, type);
  return value as Types[T];
}

export const badId = (id: number): RpcError => new RpcError(-105, `Bad id=${id}`);
