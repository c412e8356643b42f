/** Gen1's `/settings`, taken apart: each setting with the fields it comes to and the write that changes it. */

import { own } from "../../own.ts";
import { same } from "./gen1-codec.ts";
import { CONTAINERS, GEN1_LEFT_OUT, type Left, lightMappings, MAPPINGS, type Mapping, nightMode } from "./gen1-map.ts";
import { fieldOf, isList, isObject, listOf, objectOf, type Path, textOf } from "./json.ts";
import type { Gen1Report, Json } from "./report.ts";

/** One setting of one device. */
export interface Setting {
  /** Where it stands in `/settings`, e.g. `["relays", "0", "auto_on"]`, and what stands there. */
  readonly raw: Path;
  readonly value: Json;
  readonly component: string;
  readonly codec: Mapping["codec"];
  /** Undefined: no way to write it is known. Where the setting is an object, its own names are the parameters. */
  readonly write: { readonly path: string; readonly name: string } | undefined;
  readonly numeric: boolean;
  readonly reboots: boolean;
  readonly cutsOff: boolean;
}

interface Place {
  /** Component of what is listed nowhere, and the path that writes it. */
  readonly component: string;
  readonly path: string;
  /** How much of the path in `/settings` leads to the component. */
  readonly depth: number;
  readonly index: string;
}

const BY_READING: ReadonlyMap<string, Mapping> = new Map(MAPPINGS.map((mapping) => [mapping.read, mapping]));

const TOP: Place = { component: "sys", path: "/settings", depth: 0, index: "0" };

/** `lights[0]` is what its fields say: Gen1 calls them all lights. */
function lightComponent(light: Json | undefined): string {
  const has = (name: string) => fieldOf(light, name) !== undefined;
  if (has("red")) return has("temp") ? "rgbcct:#" : has("white") ? "rgbw:#" : "rgb:#";
  return has("temp") ? "cct:#" : "light:#";
}

/** LED controllers write each mode by its own path, bulbs and dimmers all by one (documented). */
function lightPath(settings: Json): string {
  const mode = textOf(fieldOf(settings, "mode"));
  const controller = ["fw_mode", "alt_modes", "dcpower"].some((name) => fieldOf(settings, name) !== undefined);
  return controller && (mode === "color" || mode === "white") ? `/settings/${mode}/#` : "/settings/light/#";
}

/** What is in `/settings` and without effect in this mode (a relay whose device drives a roller). */
function isIdle(settings: Json, container: string): boolean {
  const mode = textOf(fieldOf(settings, "mode"));
  if (container === "relays") return mode === "roller";
  return mode === "relay" && (container === "rollers" || container === "favorites");
}

const numbered = (text: string, index: string): string =>
  text.replace("+#", String(100 + Number(index))).replaceAll("#", index);

/** Every setting that is part of a configuration, in the order of `/settings`. */
export function settingsOf(report: Gen1Report): ReadonlyArray<Setting> {
  const settings = objectOf(report.settings);
  const light = lightComponent(listOf(settings.lights)[0]);
  const mappings = new Map(BY_READING);
  for (const mapping of lightMappings(light)) mappings.set(mapping.read, mapping);
  const lights = listOf(settings.lights);
  const ofChannel = lights.some((item) => fieldOf(item, "night_mode") !== undefined);
  if (ofChannel) mappings.set("lights.#.night_mode", { ...nightMode(light), read: "lights.#.night_mode" });
  else if (lights.length > 0) mappings.set("night_mode", nightMode(numbered(light, "0")));

  const found: Setting[] = [];
  const taken = new Set<string>();
  const visit = (path: Path, value: Json, place: Place) => {
    const pattern = path.map((name, depth) => (place.depth === 2 && depth === 1 ? "#" : name)).join(".");
    if (leftOut(pattern) !== undefined || (ofChannel && pattern === "night_mode")) return;
    const mapping = mappings.get(pattern);
    if (mapping === undefined && isObject(value)) {
      for (const [name, inner] of Object.entries(value)) visit([...path, name], inner, place);
      return;
    }
    const setting = settingAt(path, value, place, mapping);
    const names = (of: Setting) => of.codec.fields.map((field) => `${of.component} ${field}`);
    // What another setting says already keeps its own name.
    const kept = names(setting).some((name) => taken.has(name)) ? settingAt(path, value, place, undefined) : setting;
    for (const name of names(kept)) taken.add(name);
    found.push(kept);
  };
  const containers = Object.entries(settings).filter(([name, value]) => isContainer(name, value));
  for (const [container, items] of containers) {
    if (isIdle(settings, container)) continue;
    const { component, path } =
      container === "lights"
        ? { component: light, path: lightPath(settings) }
        : (own(CONTAINERS, container) ?? {
            component: `${container}:#`,
            path: `/settings/${container.replace(/s$/, "")}/#`,
          });
    for (const [index, item] of Object.entries(items as object)) {
      const place = { component: numbered(component, index), path: numbered(path, index), depth: 2, index };
      for (const [name, value] of Object.entries(objectOf(item))) visit([container, index, name], value, place);
    }
  }
  const others = Object.entries(settings).filter(([name, value]) => !isContainer(name, value));
  for (const [name, value] of others) visit([name], value, TOP);
  return found;
}

function settingAt(path: Path, value: Json, place: Place, mapping: Mapping | undefined): Setting {
  const within = path.slice(place.depth);
  const component = numbered(mapping?.component ?? place.component, place.index);
  const name = mapping?.name ?? within.join("_");
  // A channel's night mode is written for the device, which is its first channel.
  const writable = !(mapping?.path === "/settings/night_mode" && place.index !== "0");
  return {
    raw: path,
    value,
    component,
    codec: mapping?.codec ?? same(within.join(".")),
    write: writable
      ? {
          path: numbered(mapping?.path ?? place.path, place.index),
          name: mapping?.path === undefined ? name : (mapping.name ?? path.at(-1)!),
        }
      : undefined,
    numeric: mapping?.numeric ?? false,
    reboots: mapping?.reboots ?? false,
    cutsOff: mapping?.cutsOff ?? false,
  };
}

/** A list of components, or an object of them by index. */
const isContainer = (name: string, value: Json): boolean =>
  (isList(value) && value.length > 0 && value.every(isObject)) ||
  (isObject(value) && Object.hasOwn(CONTAINERS, name) && Object.keys(value).every((index) => /^\d{1,3}$/.test(index)));

/** Why a setting is no part of a configuration; undefined: it is part of it. @param pattern its path, an index as `#` */
export function leftOut(pattern: string): Left | undefined {
  return own(GEN1_LEFT_OUT, pattern) ?? own(GEN1_LEFT_OUT, pattern.replace(/^[^.]+\.#\./, "*.#."));
}
