/**
 * Agents are killed at random while simulated devices get applies, reboots and firmware: at the end each device is as was wanted or as it
 * was before, no schedule or script of a trial is left on it, and each task has ended once.
 */
import { task } from "@millrace/domain/devices/task.ts";
import * as assert from "uvu/assert";
import { openSite } from "../harness/devices.ts";
import { suite } from "../harness/suite.ts";

const test = suite("devices under kills");

/** So long and so many that it comes to its end within 25 minutes on a machine that has much else to do. */
const MINUTES = Number(process.env.SOAK_MINUTES ?? 4);
const DEVICES = Number(process.env.SOAK_DEVICES ?? 80);
const ENDS = new Set(["TaskSucceeded", "TaskFailed", "TaskCancelled", "TaskExpired"]);
const pause = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms));
const chance = (of: number): number => Math.floor(Math.random() * of);

test(
  `${DEVICES} devices for ${MINUTES} minutes`,
  async () => {
    const stable = { version: "1.99.0", buildId: "20270101-000000/1.99.0-gabc1234" };
    const site = await openSite({
      count: DEVICES,
      devices: [{ model: "SNSW-001X16EU", updates: { stable } }, { model: "SHSW-25" }, { model: "S3SW-001X16EU" }],
    });
    for (const handle of site.fleet.devices) await site.add(handle);
    const asked = new Map<string, string[]>();
    const wanted = new Map<string, string[]>();
    const until = Date.now() + MINUTES * 60_000;
    let kills = 0;
    const agents = [await site.start(), await site.start()];
    const killing = (async () => {
      while (Date.now() < until) {
        await pause(3_000 + chance(8_000));
        const at = chance(agents.length);
        await agents[at]!.kill();
        kills += 1;
        agents[at] = await site.start();
      }
    })();
    const asking = site.fleet.devices.map(async (handle, index) => {
      const id = site.idOf(handle);
      for (let n = 0; Date.now() < until; n++) {
        const state = await site.device(id);
        if (state.identity === null || state.queue.length > 2) {
          await pause(1_000);
          continue;
        }
        const name = `n${index}-${n}`;
        wanted.set(id, [...(wanted.get(id) ?? []), name]);
        await site.want(id, { "switch:0": { name }, sys: { device: { name } } });
        const kinds = [
          { kind: "apply", dryRun: false },
          { kind: "reboot" },
          { kind: "apply", dryRun: false },
          { kind: "firmware" },
        ] as const;
        asked.set(id, [...(asked.get(id) ?? []), await site.ask(id, kinds[n % kinds.length]!)]);
        await pause(2_000 + chance(8_000));
      }
    });
    await Promise.all([killing, ...asking]);
    const counts: Record<string, number> = {};
    for (const handle of site.fleet.devices) {
      const id = site.idOf(handle);
      for (const one of asked.get(id) ?? []) {
        const { state } = await site.over(one, 300_000);
        counts[state] = (counts[state] ?? 0) + 1;
        const ends = (await site.events(task, one)).filter(({ type }) => ENDS.has(type));
        assert.is(ends.length, 1, `${one} has ended ${ends.length} times`);
      }
      const { applied, active, queue } = await site.device(id);
      assert.equal([active, queue], [null, []]);
      const settings = handle.config() as Record<string, { name?: string }> & {
        relays?: { name: string }[];
        name?: string;
      };
      const is = handle.generation === 1 ? settings.relays![0]!.name : settings["switch:0"]!.name;
      const last = (applied?.configuration["switch:0"] as { name?: string } | undefined)?.name;
      assert.ok(
        is === last || (last === undefined && !wanted.get(id)?.includes(is ?? "")),
        `${id} has ${is}, not ${last}`,
      );
      assert.equal((handle.stored() as { schedules?: unknown[] }).schedules ?? [], []);
    }
    for (const agent of agents) await agent.kill();
    const all = Object.values(counts).reduce((sum, n) => sum + n, 0);
    console.log(`${all} tasks, ${kills} kills: ${JSON.stringify(counts)}`);
    assert.ok(all > DEVICES && kills > 0);
  },
  { timeoutMs: (MINUTES + 20) * 60_000 },
);

test.run();
