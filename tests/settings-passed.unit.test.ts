/** What services can be told, `mill up` tells them. */
import { AGENT_SETTINGS } from "@millrace/device-agent/config.ts";
import { readSettings, type Settings } from "@millrace/eventlog/settings.ts";
import { deviceDeclarations } from "@millrace/local/device-settings.ts";
import { publishingDeclarations } from "@millrace/local/publishing-settings.ts";
import { environmentOf } from "@millrace/local/setting-values.ts";
import type { Declaration } from "@millrace/local/settings.ts";
import { PUBLISHER_SETTINGS } from "@millrace/publisher/config.ts";
import * as assert from "uvu/assert";
import { suite } from "./harness/suite.ts";

const test = suite("settings that are passed on");

/** @param its which of the service's settings it has to itself */
function checkPassed(declared: Readonly<Record<string, Declaration<unknown>>>, service: Settings, its: RegExp): void {
  const read = Object.fromEntries(
    Object.entries(declared).map(([name, { fallback, read: parse }]) => [
      name,
      fallback === undefined ? undefined : parse(fallback, "/"),
    ]),
  );
  const passed = environmentOf(declared, read);
  const own = Object.values(service)
    .map(({ variable }) => variable)
    .filter((variable) => its.test(variable));
  assert.equal(Object.keys(passed).sort(), own.sort());
  const environment = Object.fromEntries(Object.entries(passed).filter(([, value]) => value !== undefined));
  const nats = { MILLRACE_NATS_URL: "nats://127.0.0.1:4222" };
  assert.equal(readSettings(service, { ...nats, ...environment }), readSettings(service, nats));
}

test("every setting of devices and firmware is passed on, and means the same where it is left out", () => {
  checkPassed(deviceDeclarations, AGENT_SETTINGS, /^MILLRACE_(SITE|DEVICES_|FIRMWARE_|COIOT_)/);
});

test("every setting of publishing and building is passed on, and means the same where it is left out", () => {
  const { repositoriesUrl, flatManagerConfigFile, ...its } = publishingDeclarations;
  // Which service they are for, and what they are without being set, is for the platform to say.
  assert.equal([repositoriesUrl.env, flatManagerConfigFile.env].length, 2);
  const others = ["NODE", "DATA", "MASTER_KEY", "LEASE_", "LOCAL_SOURCES", "REPOSITORIES_URL", "PUBLISHING_TOOLS"];
  const shared = ["NATS_", "FEED_", "LOG_", "REPLICAS", "OUTGOING_", "WEBHOOK_"];
  checkPassed(its, PUBLISHER_SETTINGS, new RegExp(`^MILLRACE_(?!${[...others, ...shared].join("|")})`));
});

test.run();
