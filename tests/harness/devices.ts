/** A site with simulated devices: a log, a fleet, and agents in this process or as processes of their own that may be killed. */
import { createHash, randomBytes } from "node:crypto";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import type { Asked } from "@millrace/contracts/devices/task-parts.ts";
import { makeId } from "@millrace/contracts/ids.ts";
import { AGENT_SETTINGS } from "@millrace/device-agent/config.ts";
import { type DeviceAgent, startDeviceAgent } from "@millrace/device-agent/start.ts";
import { type DeviceCommand, type DeviceState, device } from "@millrace/domain/devices/device.ts";
import { cancelTask, requestTask, type TaskAsked } from "@millrace/domain/devices/request.ts";
import { task } from "@millrace/domain/devices/task.ts";
import { isOver, type TaskState } from "@millrace/domain/devices/task-state.ts";
import { secret } from "@millrace/domain/identity/secret.ts";
import type { Kind } from "@millrace/domain/kind.ts";
import { readCommits } from "@millrace/eventlog/aggregate.ts";
import { EventLog } from "@millrace/eventlog/eventlog.ts";
import { type Change, executeAll, ownContext } from "@millrace/eventlog/execute.ts";
import { makeLogger } from "@millrace/eventlog/logging.ts";
import { parseMasterKeys, Sealing } from "@millrace/eventlog/sealing.ts";
import { readSettings } from "@millrace/eventlog/settings.ts";

export { freePort } from "@millrace/local/ports.ts";

import { type BoundProcess, startBound, tail } from "@millrace/local/process.ts";
import type { DeviceHandle, Fleet, FleetOptions } from "../simulators/shelly/face.ts";
import { startFleet } from "../simulators/shelly/fleet.ts";
import { eventually } from "./eventually.ts";
import { type TestNats, testFolder, testNats } from "./servers.ts";
import { deferToEndOfFile } from "./suite.ts";

const MAIN = fileURLToPath(new URL("../../services/device-agent/main.ts", import.meta.url));
export const ORGANISATION = "org_00000000000000000000000000";

export class Site {
  readonly nats: TestNats;
  readonly log: EventLog;
  readonly fleet: Fleet;
  readonly environment: Readonly<Record<string, string>>;
  readonly folder: string;
  readonly #masterKey: string;
  #started = 0;
  #sealing: Promise<Sealing> | undefined;
  readonly #ids = new Map<string, string>();

  constructor(nats: TestNats, log: EventLog, fleet: Fleet, masterKey: string, env: Readonly<Record<string, string>>) {
    this.nats = nats;
    this.log = log;
    this.fleet = fleet;
    this.#masterKey = masterKey;
    this.folder = testFolder("devices");
    this.environment = {
      MILLRACE_NATS_URL: nats.url,
      MILLRACE_NATS_USER: nats.user,
      MILLRACE_NATS_PASSWORD: nats.pass,
      MILLRACE_MASTER_KEY: masterKey,
      MILLRACE_DATA: this.folder,
      MILLRACE_LEASE_SECONDS: "2",
      MILLRACE_DEVICES_LOOK_MS: "50",
      MILLRACE_DEVICES_LOST_SECONDS: "5",
      MILLRACE_LOG_LEVEL: "fatal",
      ...env,
    };
  }

  /** An agent in this process. @returns ends it with the file, or before */
  async agent(env: Readonly<Record<string, string>> = {}): Promise<DeviceAgent> {
    const config = readSettings(AGENT_SETTINGS, { ...this.environment, ...env });
    const agent = await startDeviceAgent(config, makeLogger({ service: "device-agent", level: "fatal" }), "test");
    let ended: Promise<void> | undefined;
    const stop = () => (ended ??= agent.stop());
    deferToEndOfFile(stop);
    return { ...agent, stop };
  }

  /** An agent as a process of its own. @param dieAt a fault point: it ends there as by a power cut */
  async start(dieAt?: string, env: Readonly<Record<string, string>> = {}): Promise<BoundProcess> {
    const started = await startBound({
      name: `device-agent-${++this.#started}`,
      command: process.execPath,
      args: [MAIN],
      inputPipe: true,
      env: {
        ...process.env,
        ...this.environment,
        MILLRACE_PARENT_PIPE: "1",
        MILLRACE_HEALTH_PORT: "0",
        ...(dieAt === undefined ? {} : { MILLRACE_DIE_AT: dieAt }),
        ...env,
      },
      logFile: join(this.folder, "agent.log"),
    });
    deferToEndOfFile(() => started.kill());
    return started;
  }

  /** Until it has ended by SIGKILL; fails when it does not. */
  async died(agent: BoundProcess, ms = 60_000): Promise<void> {
    const exit = await eventually(async () => agent.exit(), "the agent dies", ms);
    if (exit.signal !== "SIGKILL")
      throw new Error(`it ended with ${exit.code}:\n${tail(join(this.folder, "agent.log"), 30)}`);
  }

  idOf(handle: DeviceHandle): string {
    return this.#ids.get(handle.mac)!;
  }

  /** Makes a device of the fleet known, and waits until an agent has read it. */
  async add(handle: DeviceHandle, password?: string): Promise<string> {
    const id = makeId("dev", Date.now(), randomBytes(10));
    this.#ids.set(handle.mac, id);
    const address = { host: handle.address, port: handle.port, scheme: "http" as const };
    const { mac } = handle;
    const spec = { mac, name: `d-${mac.toLowerCase()}`, site: "home", tags: [], groups: [], expected: true, address };
    await this.execute([{ kind: device, id, command: { do: "add", spec } }]);
    if (password !== undefined) await this.login(id, handle, password);
    return id;
  }

  async login(id: string, handle: DeviceHandle, password: string): Promise<void> {
    const credentials = await this.credentials(id, handle, password);
    await this.execute([{ kind: device, id, command: { do: "storeCredentials", credentials } }]);
  }

  async credentials(id: string, handle: DeviceHandle, password: string) {
    const sealing = await this.sealing();
    const ha1 = createHash("sha256").update(`admin:${handle.id}:${password}`).digest("hex");
    const value = handle.generation === 1 ? password : ha1;
    const sealed = await sealing.seal({ organisation: ORGANISATION, subject: id }, value);
    return { scheme: handle.generation === 1 ? ("basic" as const) : ("digest" as const), sealed };
  }

  /** A sealed secret of the organisation. @returns its id */
  async secret(name: string, value: string): Promise<string> {
    const id = makeId("sec", Date.now(), randomBytes(10));
    const sealed = await (await this.sealing()).seal({ organisation: ORGANISATION, subject: id }, value);
    await this.execute([{ kind: secret, id, command: { type: "StoreSecret", name, sealed } }]);
    return id;
  }

  sealing(): Promise<Sealing> {
    this.#sealing ??= Sealing.open({ nats: this.log.nats, masterKeys: parseMasterKeys(this.#masterKey) }).then(
      (one) => {
        deferToEndOfFile(() => one.close());
        return one;
      },
    );
    return this.#sealing;
  }

  async execute(changes: ReadonlyArray<Change>): Promise<void> {
    const outcome = await executeAll(this.log, changes, ownContext("test", ORGANISATION));
    if ("refusal" in outcome) throw new Error(JSON.stringify(outcome.refusal));
  }

  async device(id: string): Promise<DeviceState> {
    return (await this.log.aggregates.load(device, id)).state;
  }

  async task(id: string): Promise<TaskState> {
    return (await this.log.aggregates.load(task, id)).state;
  }

  async want(id: string, configuration: Extract<DeviceCommand, { do: "configure" }>["configuration"]): Promise<void> {
    await this.execute([{ kind: device, id, command: { do: "configure", configuration } }]);
  }

  /** @returns the task's id */
  async ask(id: string, asked: Asked, more: Partial<TaskAsked> = {}): Promise<string> {
    const made = makeId("tsk", Date.now(), randomBytes(10));
    for (let tries = 0; ; tries++) {
      const parts = requestTask(await this.device(id), { task: made, asked, ...more });
      if ("refused" in parts) throw new Error(JSON.stringify(parts));
      try {
        await this.execute(parts as ReadonlyArray<Change>);
        return made;
      } catch (error) {
        if (tries > 5) throw error;
      }
    }
  }

  async cancel(id: string): Promise<void> {
    await this.execute(cancelTask(await this.task(id)) as ReadonlyArray<Change>);
  }

  async over(id: string, ms = 40_000): Promise<TaskState> {
    let last: TaskState | undefined;
    const look = async () => {
      last = await this.task(id);
      return isOver(last) ? last : undefined;
    };
    return eventually(look, `the end of ${id}`, ms).catch((error: Error) => {
      throw new Error(`${error.message}: ${JSON.stringify({ ...last, asked: undefined }, null, 1).slice(0, 3_000)}`);
    });
  }

  /** Asks, and waits until it is over. */
  async done(id: string, asked: Asked, more: Partial<TaskAsked> = {}): Promise<TaskState> {
    return this.over(await this.ask(id, asked, more));
  }

  /** Types of all events of an aggregate, in their order. */
  async events(kind: Kind, id: string): Promise<ReadonlyArray<{ readonly type: string; readonly data: any }>> {
    const all = [];
    for await (const commit of readCommits(this.log.nats, kind, id)) all.push(...commit.events);
    return all as never;
  }
}

/** @param env of every agent */
export async function openSite(options: FleetOptions, env: Readonly<Record<string, string>> = {}): Promise<Site> {
  const nats = await testNats();
  const fleet = await startFleet(options);
  deferToEndOfFile(() => fleet.close());
  const log = await EventLog.open({ url: nats.url, user: nats.user, password: nats.pass, name: "site" }, [
    "devices",
    "identity",
  ]);
  deferToEndOfFile(() => log.close());
  return new Site(nats, log, fleet, randomBytes(32).toString("base64"), env);
}
