/** Every model that can be simulated. */
import { GEN1_MODELS } from "./gen1.ts";
import type { Gen1Model } from "./gen1-shape.ts";
import { RPC_MODELS, type RpcModel } from "./gen2.ts";

export type Model = { readonly kind: "gen1"; readonly of: Gen1Model } | { readonly kind: "rpc"; readonly of: RpcModel };

const ALL = new Map<string, Model>([
  ...GEN1_MODELS.map((of): [string, Model] => [of.model, { kind: "gen1", of }]),
  ...RPC_MODELS.map((of): [string, Model] => [of.model, { kind: "rpc", of }]),
]);

/** Names, Gen1 first. */
export const MODELS: readonly string[] = [...ALL.keys()];

/** @throws Error for a name that is none. */
export function modelOf(name: string): Model {
  const found = ALL.get(name);
  if (found === undefined) throw new Error(`no model ${name}; there are ${MODELS.join(", ")}`);
  return found;
}
