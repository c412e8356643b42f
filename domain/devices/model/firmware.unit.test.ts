/** Versions in order, updates that apply. */
import assert from "node:assert/strict";
import { suite } from "../../../tests/harness/suite.ts";
import { builtAt, compareFirmware, isNoUpdate, offersOf, updateFor } from "./firmware.ts";

const test = suite("firmware");
const compare = (a: string, b: string, generation = 2) => compareFirmware(generation, { version: a }, { version: b });

test("Gen2 and later by version, what led to a release before it", () => {
  const rising = [
    "0.14.1",
    "1.4.99-xt-prod1",
    "1.5.99-g4prod1",
    "1.7.0-miniemg4prod0",
    "1.7.0",
    "1.7.5",
    "1.10.0",
    "2.0.0-beta1",
    "2.0.0-beta2",
    "2.0.0-beta10",
    "2.0.0-rc1",
    "2.0.0",
    "2.0.1-beta1",
    "2.0.1",
  ];
  for (const [index, older] of rising.entries()) {
    assert.equal(compare(older, older), 0, older);
    for (const newer of rising.slice(index + 1)) {
      assert.ok(compare(older, newer)! < 0, `${older} < ${newer}`);
      assert.ok(compare(newer, older)! > 0, `${newer} > ${older}`);
    }
  }
  assert.equal(compare("master", "1.0.0"), undefined);
  assert.equal(builtAt("20260311-095847/1.7.5-g9979d16"), "20260311-095847");
  const [first, second] = ["20260311-095847/1.7.5-g1", "20260312-000000/1.7.5-g2"].map((build) => ({
    version: "1.7.5",
    build,
  }));
  assert.ok(compareFirmware(3, first!, second!)! < 0);
});

test("Gen1 by the date in its firmware, whatever its version says", () => {
  const [stable, rc] = ["20230913-112003/v1.14.0-gcb84623", "20231107-162940/v1.14.1-rc1-g0617c15"];
  assert.ok(compareFirmware(1, { build: stable! }, { build: rc! })! < 0);
  assert.equal(compareFirmware(1, { build: "" }, { build: rc! }), undefined);
});

const device = (version: string, app = "MiniEMG4", build = "") => ({
  generation: 4 as const,
  app,
  firmware: { version, build },
});

test("an older version that is offered is no update, another product for the same hardware is none either", () => {
  const status = {
    sys: {
      available_updates: { stable: { version: "1.7.0-miniemg4prod0" } },
      alt: { MiniEMG4ZB: { beta: { version: "9.0.0", build_id: "20990101-000000/9.0.0" } } },
    },
  };
  const offers = offersOf(4, status);
  assert.deepEqual(offers, [{ version: "1.7.0-miniemg4prod0", stage: "stable" }]);
  const found = updateFor(device("2.0.0-beta1"), offers);
  assert.ok(isNoUpdate(found) && found.none === "older");
});

test("the newest of the stages that are wanted; a frozen line gets what is below its end", () => {
  const offers = [
    { version: "1.8.0", stage: "stable" as const },
    { version: "2.0.0", stage: "beta" as const },
  ];
  assert.deepEqual(updateFor(device("1.7.5"), offers), offers[0]);
  assert.deepEqual(updateFor(device("1.7.5"), offers, ["stable", "beta"]), offers[1]);
  assert.deepEqual(updateFor(device("1.7.5", "Plus2PM"), offers, ["stable", "beta"]), offers[0]);
  const frozen = updateFor(device("1.8.0", "Plus2PM"), offers, ["stable", "beta"]);
  assert.ok(isNoUpdate(frozen) && frozen.none === "frozen");
  const same = updateFor(device("1.8.0"), offers);
  assert.ok(isNoUpdate(same) && same.none === "up-to-date");
  const unreadable = updateFor(device("1.8.0"), [{ version: "master", stage: "stable" }]);
  assert.ok(isNoUpdate(unreadable) && unreadable.none === "unreadable");
  const gen1 = {
    update: { has_update: true, new_version: "20230913-112003/v1.14.0-gcb84623", old_version: "", beta_version: "" },
  };
  const relay = {
    generation: 1 as const,
    app: "SHSW-1",
    firmware: { version: "1.11.0", build: "20210715-000000/v1.11.0-g1" },
  };
  assert.equal((updateFor(relay, offersOf(1, gen1)) as { version: string }).version, gen1.update.new_version);
});

test.run();
