/** Every captured model: what is read, wanted again and written is the same; nothing touched is no drift; one field changed is that field. */
import assert from "node:assert/strict";
import { suite } from "../../../tests/harness/suite.ts";
import { componentOf } from "./collections.ts";
import { type Configuration, configurationOf, fieldsOf, leftOutOfGen2 } from "./configuration.ts";
import { differences } from "./difference.ts";
import { driftOf } from "./drift.ts";
import { FIELDS } from "./fields.ts";
import { captured, NO_CAPTURES } from "./fixtures/captured.ts";
import { afterWrites } from "./fixtures/device.ts";
import { leftOut, settingsOf } from "./gen1.ts";
import { identityOf, isNoDevice } from "./identity.ts";
import { at, isObject, leaves, type Path, pathOf, withAt } from "./json.ts";
import { isRefused, type Plan, planOf, undoOf } from "./plan.ts";
import type { Gen1Report, Json, Report } from "./report.ts";
import { withSecrets } from "./secrets.ts";

const test = suite("captured devices");
const devices = captured();

const each = (name: string, body: (report: Report, model: string) => void) =>
  test(name, ({ skip }) => {
    if (devices.length === 0) skip(NO_CAPTURES);
    for (const { name, report } of devices) body(report, name);
  });

/** Another value of the same kind; one that a device may have, where it is known which. */
function another(value: Json, component = "", field = ""): Json {
  const known = FIELDS[componentOf(component).type]?.[field];
  if (known?.kind === "choice") return known.of.find((one) => one !== value)!;
  if (isObject(value)) return { ...value, more: 1 };
  if (typeof value === "boolean") return !value;
  if (typeof value === "number")
    return known?.kind === "number" && value + 1 > (known.most ?? value + 1) ? value - 1 : value + 1;
  if (field.endsWith("active_between")) return ["22:00", "06:30"];
  if (Array.isArray(value)) return [...value, "0800-01234-on"];
  if (typeof value === "string") return `${value}x`;
  return known?.kind === "number" ? 7 : "changed";
}

each("each says what it is", (report, model) => {
  const identity = identityOf(report);
  assert.ok(!isNoDevice(identity), model);
  assert.match(identity.mac, /^[0-9A-F]{12}$/);
  assert.equal(identity.model, model.split(" ")[0]);
  assert.equal(identity.generation, report.generation);
  assert.match(identity.firmware.version, /^\d+\.\d+\.\d+/);
  assert.equal(identity.sleeper, model.startsWith("SNSN"), model);
});

each("an untouched device has no drift, and nothing is to be written", (report, model) => {
  const configuration = configurationOf(report);
  assert.ok(Object.keys(configuration).length > 6, model);
  assert.deepEqual(driftOf(configuration, configuration, configurationOf(structuredClone(report))), []);
  const plan = planOf(report, configuration, configuration);
  assert.ok(!isRefused(plan), JSON.stringify(plan));
  assert.deepEqual(plan.writes, []);
});

const rawOf = (report: Report): Json => (report.generation === 1 ? report.settings : report.config);
const withRaw = (report: Report, raw: Json): Report =>
  report.generation === 1 ? { ...report, settings: raw } : { ...report, config: raw };

/** Why a leaf of the raw configuration is no part of what is wanted. */
function isLeftOut(report: Report, path: Path): boolean {
  if (report.generation !== 1) {
    const [component, ...field] = path;
    return field.some(
      (_, depth) => leftOutOfGen2(componentOf(component!).type, field.slice(0, depth + 1).join(".")) !== undefined,
    );
  }
  const pattern = path.map((name, depth) => (depth === 1 && /^\d+$/.test(name) ? "#" : name));
  return pattern.some((_, depth) => leftOut(pattern.slice(0, depth + 1).join(".")) !== undefined);
}

/** Lists of components taken apart, too. */
const rawLeaves = (raw: Json): ReadonlyArray<{ path: Path; value: Json }> =>
  leaves(raw).flatMap(({ path, value }) =>
    Array.isArray(value) && value.length > 0 && value.every(isObject)
      ? value.flatMap((item, index) =>
          leaves(item).map((leaf) => ({ ...leaf, path: [...path, String(index), ...leaf.path] })),
        )
      : [{ path, value }],
  );

function changed(raw: Json, path: Path, value: Json): Json {
  const clone = structuredClone(raw) as any;
  const holder = path.slice(0, -1).reduce((object, name) => object[name], clone);
  holder[path.at(-1)!] = value;
  return clone;
}

test("one changed field of a captured device is exactly that field: every leaf of every capture", ({ skip }) => {
  if (devices.length === 0) skip(NO_CAPTURES);
  let counted = 0;
  for (const { name, report } of devices) {
    const before = configurationOf(report);
    const raw = rawOf(report);
    for (const { path, value } of rawLeaves(raw)) {
      // Another mode is another set of components; the idle half of two is nobody's configuration, nor is a duplicate of a channel's.
      if (path[0] === "mode" || (path.length === 1 && isObject(value))) continue;
      const isIdle =
        report.generation === 1 &&
        ["relays", "rollers", "favorites"].includes(path[0]!) &&
        !settingsOf(report as Gen1Report).some((setting) => setting.raw[0] === path[0]);
      const isDouble = path[0] === "night_mode" && at(raw, ["lights"]) !== undefined;
      const after = configurationOf(withRaw(report, changed(raw, path, another(value))));
      const fields = differences(before, after);
      const where = `${name} ${path.join(".")}: ${JSON.stringify(fields)}`;
      assert.equal(fields.length, isLeftOut(report, path) || isIdle || isDouble ? 0 : 1, where);
      counted += fields.length;
    }
  }
  assert.ok(counted > 500, `${counted} fields`);
});

test("every setting of Gen1 is encoded as it was read", ({ skip }) => {
  if (devices.length === 0) skip(NO_CAPTURES);
  for (const { name, report } of devices) {
    if (report.generation !== 1) continue;
    const configuration = configurationOf(report);
    for (const { raw, value, component, codec } of settingsOf(report)) {
      assert.deepEqual(
        codec.encode((field) => at(configuration[component], pathOf(field)), value),
        value,
        `${name} ${raw.join(".")}`,
      );
    }
  }
});

/** Each field of a device another, with the passwords that this takes. */
function allAnother(configuration: Configuration): Configuration {
  const other = Object.entries(configuration).map(([component, value]) => {
    if (!isObject(value) || component === "virtual") return [component, value] as const;
    // What a dictionary of a device has once, it keeps.
    const fields = fieldsOf(value).filter(
      (field) => field !== "device.profile" && JSON.stringify(at(value, pathOf(field))) !== "{}",
    );
    return [
      component,
      fields.reduce<Json>(
        (all, field) => withAt(all, pathOf(field), another(at(value, pathOf(field))!, component, field)),
        value,
      ),
    ] as const;
  });
  const all = Object.fromEntries(other) as Record<string, any>;
  for (const network of ["sta", "sta1"]) if (all.wifi?.[network]) all.wifi[network].pass = { $secret: "sec_network" };
  if (all.auth) all.auth.password = { $secret: "sec_login" };
  for (const [component, value] of Object.entries(all)) {
    // A timer of Gen1 is on for some time.
    for (const timer of ["auto_on", "auto_off"]) if (value[timer] === true) value[`${timer}_delay`] ??= 5;
    for (const part of ["obstruction_detection", "safety_switch"])
      if (value[part]?.enable === true) value[part].direction ??= "both";
    // Gen1 forgets what is not in use.
    for (const part of ["obstruction_detection", "safety_switch"])
      if (component.startsWith("cover") && value[part]?.enable === false && all.coiot) delete value[part].direction;
  }
  return all;
}

const sent = ({ writes }: Plan) => writes.map((write) => withSecrets(write, (reference) => `value of ${reference}`));

const withoutSecrets = (configuration: Configuration): Configuration =>
  JSON.parse(
    JSON.stringify(configuration, (name, value) => (name === "pass" || name === "password" ? undefined : value)),
  );

each("everything wanted otherwise is written, read back as wanted, and undone as it was", (report, model) => {
  const before = configurationOf(report);
  const desired = allAnother(before);
  const plan = planOf(report, desired);
  assert.ok(!isRefused(plan), `${model} ${JSON.stringify(plan, null, 1)}`);
  const after = afterWrites(report, sent(plan));
  assert.deepEqual(differences(desired, configurationOf(after)), [], model);
  assert.deepEqual(configurationOf(after), withoutSecrets(desired), model);
  const undo = planOf(
    after,
    undoOf(report, plan, {
      wifi: { sta: { pass: { $secret: "sec_old" } }, sta1: { pass: { $secret: "sec_old" } } },
      auth: { password: { $secret: "sec_old" } },
    }),
  );
  assert.ok(!isRefused(undo), JSON.stringify(undo, null, 1));
  assert.deepEqual(configurationOf(afterWrites(after, sent(undo))), before, model);
});

each("one call for each component, and what cuts off comes last", (report) => {
  const plan = planOf(report, allAnother(configurationOf(report)));
  assert.ok(!isRefused(plan), JSON.stringify(plan));
  const calls = plan.writes.map(({ component, call }) => ("path" in call ? call.path : `${component} ${call.method}`));
  assert.deepEqual(
    calls.filter((call, index) => calls.indexOf(call) !== index),
    [],
  );
  const cutting = plan.writes.map(({ cutsOff }) => cutsOff);
  assert.deepEqual(cutting, cutting.toSorted(), calls.join(", "));
  assert.ok(cutting.at(-1), "Wi-Fi changes");
  assert.equal(plan.reboot.after, cutting.indexOf(true));
});

test.run();
