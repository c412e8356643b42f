/** A gateway and a projector of the file's own, and a worker's part of a deployment played by hand: every step through the deciders. */
import assert from "node:assert/strict";
import type { Outputs } from "@millrace/contracts/applications/entities.ts";
import type { Phase } from "@millrace/contracts/applications/values.ts";
import { application } from "@millrace/domain/applications/application.ts";
import { deployment } from "@millrace/domain/applications/deployment.ts";
import type { CompletePhase } from "@millrace/domain/applications/deployment-command.ts";
import {
  activation,
  type DeploymentStep,
  finishing,
  nextOfApplication,
  nextOfDeployment,
} from "@millrace/domain/applications/next.ts";
import { EventLog } from "@millrace/eventlog/eventlog.ts";
import { type Change, executeAll } from "@millrace/eventlog/execute.ts";
import { callerOf, testGateway, testProjector } from "./gateway.ts";
import { deferToEndOfFile } from "./suite.ts";

const COMMIT = "8f1b2c3d4e5f60718293a4b5c6d7e8f901234567";

/** Started once a file. */
export async function applicationBench() {
  const started = await testGateway();
  const { url, owner, config } = started;
  await testProjector(config);
  const log = await EventLog.open(
    { url: config.natsUrl, user: config.natsUser!, password: config.natsPassword!, name: "worker", replicas: 1 },
    ["applications"],
  );
  deferToEndOfFile(() => log.close());

  const { call, expect, listed } = callerOf({ url, owner });

  let commands = 0;
  const record = async (organisation: string, changes: ReadonlyArray<Change>): Promise<void> => {
    const outcome = await executeAll(log, changes, {
      organisation,
      actor: { kind: "service", id: "worker-1", name: "orchestrator" },
      commandId: `by-hand-${++commands}`,
      digest: "",
      correlation: "by-hand",
      causation: "by-hand",
      now: new Date().toISOString(),
    });
    assert.ok("ok" in outcome, JSON.stringify(outcome));
  };

  /** One step of what is to be done for an application. @returns what it was; undefined: nothing is to be done */
  const step = async (id: string, fail = false): Promise<string | undefined> => {
    const { state } = await log.aggregates.load(application, id);
    const { organisation } = state;
    const by = { worker: "worker-1", node: "local" };
    const next = nextOfApplication(state);
    if (next !== undefined && "do" in next) {
      const todo = next.do;
      const own = (command: object) => record(organisation, [{ kind: application, id, command }]);
      if (todo.kind === "place") await own({ do: "place", node: "local" });
      else if (todo.kind === "tearDown") await own({ do: "remove" });
      else if (todo.kind === "settle") await own({ do: "settle", wanted: todo.wanted, instances: todo.instances });
      else {
        const parts = activation(state, todo, by);
        await record(organisation, [
          { kind: application, ...parts.application },
          { kind: deployment, ...parts.deployment },
        ]);
      }
      return todo.kind;
    }
    const current = state.active ?? state.live?.deployment;
    return current === undefined ? undefined : deploymentStep(organisation, current, fail);
  };

  async function deploymentStep(organisation: string, id: string, fail: boolean): Promise<string | undefined> {
    const { state } = await log.aggregates.load(deployment, id);
    const next = nextOfDeployment(state, Date.now());
    if (next === undefined || !("do" in next)) return undefined;
    const todo: DeploymentStep = next.do;
    const own = (command: object) => record(organisation, [{ kind: deployment, id, command }]);
    const worker = "worker-1";
    switch (todo.kind) {
      case "phase": {
        const { phase, attempt } = todo;
        await own({ do: "beginPhase", phase, attempt, worker, node: "local" });
        const failure = { class: "permanent", code: "BUILD_FAILED", message: "step 3 failed", fix: "Look at its log." };
        await own(
          fail
            ? { do: "failPhase", phase, attempt, worker, ...failure }
            : completion(state.seq, phase, attempt, worker),
        );
        return phase;
      }
      case "compensate": {
        const { step: what, attempt } = todo;
        await own({ do: "beginCompensation", step: what, attempt, worker });
        await own({ do: "compensated", step: what, attempt, worker });
        return what;
      }
      case "finish": {
        const parts = finishing(state, todo, new Date().toISOString());
        await record(organisation, [
          { kind: deployment, ...parts.deployment },
          { kind: application, ...parts.application },
        ]);
        return "finish";
      }
      default:
        throw new Error(`nothing here leads to ${todo.kind}`);
    }
  }

  /** Everything that is to be done for an application. */
  const settle = async (id: string): Promise<void> => {
    for (let steps = 0; (await step(id)) !== undefined; steps++) assert.ok(steps < 100, "it is never at rest");
  };

  return { ...started, log, call, expect, listed, step, settle };
}

function completion(seq: number, phase: Phase, attempt: number, worker: string): CompletePhase {
  const commit = `${seq}${COMMIT.slice(1)}`;
  const outputs: Outputs = {
    PULLING_SOURCE: { commit, tree: commit, ref: "main" },
    BUILDING: { inputHash: `input-${seq}` },
    COPYING_FILES: { release: `release-${seq}`, files: 3, bytes: 2_048 },
    CREATING_SYMLINKS: { from: null, to: `releases/release-${seq}` },
    UPDATING_ROUTES: { generation: seq, from: null, hosts: ["site.home.apps.localhost"], containers: [] },
    HEALTH_CHECK: { probes: 3, firstMs: 12 },
    CLEANUP: { containers: 0, images: 0, releases: 0 },
  };
  const done = { do: "completePhase", phase, attempt, worker, adopted: false, durationMs: 5 };
  return { ...done, output: outputs[phase] } as CompletePhase;
}
