/** What a Gen2+ device keeps beside its configuration: schedules (which run), webhooks, keys and values, scripts. */
import { isObject } from "./auth.ts";
import { parseTimespec, type Timespec } from "./cron.ts";
import type { Json, JsonObject } from "./face.ts";
import type { RpcDevice } from "./rpc-device.ts";

export interface Script {
  readonly id: number;
  name: string;
  enable: boolean;
  running: boolean;
  code: string;
}

export interface Job {
  readonly shown: JsonObject;
  readonly due: Timespec;
}

export class Stores {
  readonly #device: RpcDevice;
  schedules: Map<number, Job> | undefined;
  webhooks: Map<number, JsonObject> | undefined;
  kvs: Map<string, { readonly value: Json; readonly etag: string }> | undefined;
  scripts: Map<number, Script> | undefined;
  /** Ids are not used twice. */
  nextJob = 1;
  nextHook = 1;
  #ticking: (() => void) | undefined;

  constructor(device: RpcDevice) {
    this.#device = device;
  }

  wipe(): void {
    this.schedules = this.webhooks = this.kvs = this.scripts = undefined;
  }

  forgetJobs(): void {
    if (this.schedules !== undefined) this.#device.revised("schedule_rev");
    if (this.webhooks !== undefined) this.#device.revised("webhook_rev");
    this.schedules = this.webhooks = undefined;
  }

  shown(): JsonObject {
    const kvs = [...(this.kvs ?? [])].map(([key, { value, etag }]) => [key, { value, etag }]);
    return {
      schedules: [...(this.schedules?.values() ?? [])].map(({ shown }) => shown),
      webhooks: [...(this.webhooks?.values() ?? [])],
      kvs: Object.fromEntries(kvs),
      scripts: [...(this.scripts?.values() ?? [])].map((script) => ({ ...script })),
    };
  }

  // Scripts are components, too.

  scriptKeys(): string[] {
    return [...(this.scripts?.keys() ?? [])].sort((a, b) => a - b).map((id) => `script:${id}`);
  }

  #script(key: string): Script {
    return this.scripts!.get(Number(key.slice("script:".length)))!;
  }

  scriptConfig(key: string): JsonObject {
    const { id, name, enable } = this.#script(key);
    return { id, name, enable };
  }

  scriptStatus(key: string): JsonObject {
    const { id, running } = this.#script(key);
    return { id, running, ...(running ? { mem_used: 820, mem_peak: 1300, mem_free: 24_380 } : {}), cpu: 0 };
  }

  rebooted(): void {
    for (const script of this.scripts?.values() ?? []) script.running = script.enable;
  }

  // Schedules run by the device's own clock, whether it is on a network or not.

  started(): void {
    if (this.schedules !== undefined && this.#ticking === undefined) this.#tick(this.#second());
  }

  stop(): void {
    this.#ticking?.();
    this.#ticking = undefined;
  }

  addJob(id: number, shown: JsonObject): boolean {
    const due = typeof shown.timespec === "string" ? parseTimespec(shown.timespec) : undefined;
    if (due === undefined) return false;
    this.schedules ??= new Map();
    this.schedules.set(id, { shown, due });
    this.started();
    return true;
  }

  #second(): number {
    return Math.floor(this.#device.now() / 1000);
  }

  #tick(done: number): void {
    const wait = 1000 - (this.#device.now() % 1000);
    this.#ticking = this.#device.world.clock.after(wait, () => {
      const now = this.#second();
      // After a long gap only its last seconds: no clock of a device catches up for hours.
      for (let second = Math.max(done + 1, now - 5); second <= now; second++) this.#run(second * 1000);
      if (this.schedules === undefined || this.schedules.size === 0) this.#ticking = undefined;
      else this.#tick(now);
    });
  }

  #run(ms: number): void {
    for (const { shown, due } of [...(this.schedules?.values() ?? [])]) {
      if (shown.enable !== true || !due(ms) || !Array.isArray(shown.calls)) continue;
      for (const call of shown.calls) {
        if (!isObject(call) || typeof call.method !== "string") continue;
        const params = isObject(call.params) ? call.params : {};
        this.#device.answer({ method: call.method, params }, "timer", true);
      }
    }
  }
}
