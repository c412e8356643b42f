/** What an agent can be told, `mill up` tells it. */
import { AGENT_SETTINGS } from "@millrace/device-agent/config.ts";
import { readSettings } from "@millrace/eventlog/settings.ts";
import { deviceDeclarations, deviceEnvironment } from "@millrace/local/device-settings.ts";
import * as assert from "uvu/assert";
import { suite } from "./harness/suite.ts";

const test = suite("settings of devices");

test("every setting of devices and firmware is passed on, and means the same where it is left out", () => {
  const read = Object.fromEntries(
    Object.entries(deviceDeclarations).map(([name, { fallback, read: parse }]) => [
      name,
      fallback === undefined ? undefined : parse(fallback, "/"),
    ]),
  );
  const passed = deviceEnvironment(read);
  const own = Object.values(AGENT_SETTINGS)
    .map(({ variable }) => variable)
    .filter((variable) => /^MILLRACE_(SITE|DEVICES_|FIRMWARE_|COIOT_)/.test(variable));
  assert.equal(Object.keys(passed).sort(), own.sort());
  const environment = Object.fromEntries(Object.entries(passed).filter(([, value]) => value !== undefined));
  const nats = { MILLRACE_NATS_URL: "nats://127.0.0.1:4222" };
  assert.equal(readSettings(AGENT_SETTINGS, { ...nats, ...environment }), readSettings(AGENT_SETTINGS, nats));
});

test.run();
