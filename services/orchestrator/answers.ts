/** Answers what only this node can see. Changes nothing. */
import { applicationSeen, refSeen } from "@millrace/contracts/applications/asks.ts";
import type { ApplicationSpec } from "@millrace/contracts/applications/entities.ts";
import { NotFound } from "@millrace/contracts/problems.ts";
import { application } from "@millrace/domain/applications/application.ts";
import { AskRefused, answerAsk } from "@millrace/eventlog/asks.ts";
import type { OrchestratorNode } from "./node.ts";
import { away, look } from "./reactors/healing.ts";
import { resolveNow } from "./reactors/making.ts";
import { desiredOf, plan } from "./reconcile.ts";

/** What only looking at each tells. A container that has gone meanwhile, or an engine, tells nothing. */
async function detailsOf({ docker }: OrchestratorNode, containers: ReadonlyArray<{ readonly id: string }>) {
  const found = await Promise.all(containers.map(({ id }) => docker.inspectContainer(id).catch(away)));
  return new Map(
    found.flatMap((one) => {
      if (one === undefined) return [];
      const { id, restarts, startedAt, exitCode, oomKilled, state } = one;
      const ended = state === "running" ? {} : { exitCode };
      return [[id, { restarts, startedAt, ...ended, ...(oomKilled ? { oomKilled } : {}) }] as const];
    }),
  );
}

/** @returns stops it */
export function answerAsks(node: OrchestratorNode): () => void {
  const { nats } = node.log;
  const stops = [
    answerAsk(nats, applicationSeen, node.name, async ({ organisation, application: id }) => {
      const { state } = await node.log.aggregates.load(application, id);
      if (!state.exists || state.organisation !== organisation || state.node !== node.name) {
        throw new AskRefused({ problem: new NotFound({ detail: "There is no such application on this node." }) });
      }
      const actual = await look(node, state);
      const desired = desiredOf(state);
      const { route, stopped } = actual.routes;
      const details = await detailsOf(node, actual.containers ?? []);
      return {
        at: new Date().toISOString(),
        stopped,
        route:
          route === null
            ? null
            : { generation: route.generation, deployment: route.deployment, addresses: route.addresses },
        containers:
          actual.containers?.map(({ id, deployment, slot, state, health, address }) => ({
            id,
            deployment,
            slot,
            state,
            health,
            ...(address === undefined ? {} : { address }),
            ...details.get(id),
          })) ?? null,
        differences:
          desired === undefined
            ? []
            : plan(desired, actual).map(({ resource, do: action, expected, actual }) => ({
                resource,
                action,
                expected,
                actual,
              })),
      };
    }),
    answerAsk(nats, refSeen, node.name, async ({ organisation, source, ref }, signal) => {
      const requested = { source } as ApplicationSpec;
      const resolved = await resolveNow({ node, organisation, requested, signal, redact: () => {} }, ref);
      if (!("failed" in resolved)) return { commit: resolved.commit, ref: resolved.ref };
      const { code, message, fix } = resolved.failed;
      return { failed: { code, message, fix } };
    }),
  ];
  return () => {
    for (const stop of stops) stop();
  };
}
