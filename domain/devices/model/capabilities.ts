/** What a device can, from what it reports itself: a model never seen has all its capabilities at once. */
import { componentOf, dynamicComponents } from "./collections.ts";
import { configurationOf } from "./configuration.ts";
import { fieldOf, isObject, listOf, objectOf } from "./json.ts";
import type { Gen1Report, Gen2Report, Json, Report } from "./report.ts";

export interface Capability {
  /** `switch`, `meter`, `temperature`, `schedules` …: the same word whatever the generation. */
  readonly type: string;
  /** The component that has it: `switch:0`; of the device as a whole its own name. */
  readonly key: string;
  /** Whether something of it can be wanted. */
  readonly configurable: boolean;
  /** What it can be told to do, in the device's words: methods, or the path that takes the command. */
  readonly actions: ReadonlyArray<string>;
}

/** What a status says that is a capability beside the component's own. */
const READINGS: ReadonlyArray<readonly [type: string, fields: ReadonlyArray<string>]> = [
  ["meter", ["apower", "power", "act_power", "total_act_power"]],
  ["energy", ["aenergy", "total", "total_act_energy", "total_act"]],
  ["voltage", ["voltage", "a_voltage"]],
  ["battery", ["battery", "bat"]],
];

/** Services of Gen2+, by a method that only they have. */
const SERVICES: Readonly<Record<string, string>> = {
  schedules: "Schedule.Create",
  webhooks: "Webhook.Create",
  kvs: "KVS.Set",
  scripts: "Script.Create",
  virtual: "Virtual.Add",
};

const GEN1_ACTIONS: Readonly<Record<string, string>> = {
  switch: "/relay/#",
  cover: "/roller/#",
  light: "/light/#",
  cct: "/light/#",
  rgbcct: "/light/#",
  rgb: "/color/#",
  rgbw: "/color/#",
  thermostat: "/thermostats/#",
};

/** In order of type and component; each once. */
export function capabilitiesOf(report: Report): ReadonlyArray<Capability> {
  const found = report.generation === 1 ? ofGen1(report) : ofGen2(report);
  const each = new Map(found.map((capability) => [`${capability.type} ${capability.key}`, capability]));
  return [...each.values()].sort((a, b) => (`${a.type} ${a.key}` < `${b.type} ${b.key}` ? -1 : 1));
}

/** Keys of components, as the contract tells them: `switch:0`, `input:1`, `wifi`. */
export const componentKeys = (report: Report): ReadonlyArray<string> =>
  [...new Set(capabilitiesOf(report).map(({ key }) => key))].sort();

const readings = (key: string, status: Json | undefined): Capability[] =>
  READINGS.filter(([, fields]) => fields.some((field) => fieldOf(status, field) !== undefined)).map(([type]) => ({
    type,
    key,
    configurable: false,
    actions: [],
  }));

function ofGen2(report: Gen2Report): Capability[] {
  const wanted = configurationOf(report);
  const status = objectOf(report.status);
  const listed = (report.components ?? []).map(
    (component) => [fieldOf(component, "key"), fieldOf(component, "status")] as const,
  );
  const states = new Map<Json | undefined, Json | undefined>([...Object.entries(status), ...listed]);
  const keys = new Set([...Object.keys(dynamicComponents(report)), ...Object.keys(status)]);
  const methods = report.methods ?? [];
  const actionsOf = (type: string) =>
    methods.filter((name) => {
      const [namespace, verb] = name.split(".") as [string, string | undefined];
      return (
        namespace.toLowerCase().replaceAll("_", "") === type.replaceAll("_", "") &&
        !/^(Get|SetConfig|List)/.test(verb ?? "")
      );
    });
  const virtual = objectOf(wanted.virtual);
  const components = [...keys].flatMap((key): Capability[] => {
    const { type } = componentOf(key);
    const configurable = isObject(wanted[key]) || Object.hasOwn(virtual, key) || type === "script";
    return [{ type, key, configurable, actions: actionsOf(type) }, ...readings(key, states.get(key))];
  });
  const known = new Set(methods.map((name) => name.toLowerCase()));
  const services = Object.entries(SERVICES)
    .filter(
      ([name, method]) =>
        known.has(method.toLowerCase()) || (report.methods === undefined && wanted[name] !== undefined),
    )
    .map(
      ([type, method]): Capability => ({
        type,
        key: type,
        configurable: true,
        actions: methods.filter((name) => name.startsWith(`${method.split(".")[0]}.`)),
      }),
    );
  return [...components, ...services, { type: "auth", key: "auth", configurable: true, actions: [] }];
}

/** Status lists of Gen1, and the component whose they are. Meters belong to what they measure. */
function ofGen1(report: Gen1Report): Capability[] {
  const configuration = configurationOf(report);
  const own = Object.keys(configuration).map((key): Capability => {
    const { type, id } = componentOf(key);
    const path = GEN1_ACTIONS[type];
    return { type, key, configurable: true, actions: path === undefined ? [] : [path.replace("#", String(id ?? 0))] };
  });
  const status = objectOf(report.status);
  const outputs = ["switch", "cover", "light", "rgbw", "rgb", "cct", "rgbcct"].filter(
    (type) => configuration[`${type}:0`] !== undefined,
  );
  const seen = (list: string, type: string): Capability[] =>
    listOf(status[list]).flatMap((state, index): Capability[] => {
      const key = `${type}:${index}`;
      return [{ type, key, configurable: configuration[key] !== undefined, actions: [] }, ...readings(key, state)];
    });
  const meters = listOf(status.meters).flatMap((state, index) => readings(`${outputs[0] ?? "meter"}:${index}`, state));
  const hash = (name: string, type: string): Capability[] =>
    Object.keys(objectOf(status[name])).map((index) => ({
      type,
      key: `${type}:${100 + Number(index)}`,
      configurable: true,
      actions: [],
    }));
  const sensors = Object.entries({
    tmp: "temperature",
    hum: "humidity",
    lux: "illuminance",
    smoke: "smoke",
    flood: "flood",
    gas_sensor: "gas",
    bat: "battery",
  });
  return [
    ...own,
    ...seen("inputs", "input"),
    ...seen("emeters", "em1"),
    ...meters,
    ...hash("ext_temperature", "temperature"),
    ...hash("ext_humidity", "humidity"),
    ...sensors
      .filter(([name]) => status[name] !== undefined)
      .map(
        ([, type]): Capability => ({
          type,
          key: `${type}:0`,
          configurable: configuration[`${type}:0`] !== undefined,
          actions: [],
        }),
      ),
    { type: "webhooks", key: "webhooks", configurable: true, actions: [] },
  ];
}
