/**
 * From what profiles and own settings say to what can be wanted of one device. In this order, the later wins: every component of a type
 * (`switch:*`), then one component (`switch:0`). What is said of every component holds for those that have the field; what is said of one
 * component is meant, and is refused by the plan where the device cannot have it.
 */
import { componentOf, isCollection } from "./collections.ts";
import { type Configuration, isSecretReference, isWhole } from "./configuration.ts";
import { pointerOf } from "./difference.ts";
import { unfit } from "./fields.ts";
import { isObject, leaves, merged, withAt } from "./json.ts";
import type { Json } from "./report.ts";

export interface Fitted {
  readonly configuration: Configuration;
  /** Said of every component of a type, and nothing for this device: `switch:0/power_limit`. */
  readonly left: ReadonlyArray<string>;
}

const isStar = (key: string): boolean => key.endsWith(":*") && !isCollection(key);

/** @param observed the device as it was last seen */
export function fitted(desired: Configuration, observed: Configuration): Fitted {
  const all: Record<string, Json> = {};
  const left: string[] = [];
  for (const [key, value] of Object.entries(desired).filter(([key]) => isStar(key))) {
    const type = key.slice(0, -2);
    for (const component of Object.keys(observed).filter(
      (one) => componentOf(one).type === type && componentOf(one).id !== undefined,
    )) {
      for (const leaf of leaves(value, isWhole)) {
        const fault = unfit(component, leaf.path, leaf.value, value, observed[component]);
        // A wrong value is wrong for everybody, and is told by the plan.
        if (fault?.reason === "unknown-field") left.push(`${component}${pointerOf(leaf.path)}`);
        else all[component] = withAt(all[component] ?? {}, leaf.path, leaf.value);
      }
    }
  }
  for (const [key, value] of Object.entries(desired).filter(([key]) => !isStar(key))) {
    all[key] = isObject(value) && Object.hasOwn(all, key) ? merged(all[key], value, isSecretReference) : value;
  }
  return { configuration: all, left };
}
