/** All contexts that exist: what the gateway, the projector and the tests go through when they mean "everything". */
import { applications } from "./applications/context.ts";
import { automation } from "./automation/context.ts";
import { devices } from "./devices/context.ts";
import { identity } from "./identity/context.ts";
import { integrations } from "./integrations/context.ts";
import type { ContextDeclaration, Kind } from "./kind.ts";
import { own } from "./own.ts";
import { publishing } from "./publishing/context.ts";
import { work } from "./work/context.ts";

export const CONTEXTS: Readonly<Record<string, ContextDeclaration>> = {
  identity,
  work,
  applications,
  integrations,
  automation,
  devices,
  publishing,
};

/** @returns the kind, or undefined when this version of the product does not know it */
export const kindOf = (context: string, kind: string): Kind | undefined => {
  const kinds = own(CONTEXTS, context)?.kinds;
  return kinds && own(kinds, kind);
};

const BY_PREFIX = new Map(
  Object.values(CONTEXTS)
    .flatMap(({ kinds }) => Object.values(kinds))
    .map((kind) => [kind.prefix, kind] as const),
);

/** @returns the kind that an id is of, or undefined for what is no id of any */
export const kindOfId = (id: string): Kind | undefined => BY_PREFIX.get(id.slice(0, Math.max(0, id.indexOf("_"))));
