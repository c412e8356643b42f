/** Applications and their deployments. */

import { within } from "@millrace/contracts/access.ts";
import { Api } from "@millrace/contracts/api.ts";
import { applicationSeen } from "@millrace/contracts/applications/asks.ts";
import { isId } from "@millrace/contracts/ids.ts";
import { NotFound } from "@millrace/contracts/problems.ts";
import { type ApplicationState, application } from "@millrace/domain/applications/application.ts";
import type { ApplicationInput, ChangeApplication } from "@millrace/domain/applications/application-command.ts";
import { isOvertaken } from "@millrace/domain/applications/application-report.ts";
import { homeOf } from "@millrace/domain/applications/application-state.ts";
import { deployment } from "@millrace/domain/applications/deployment.ts";
import { type Deploying, deploymentNamed, planDeployment, releaseFor } from "@millrace/domain/applications/plan.ts";
import {
  cancelDeployment,
  deleteApplication,
  type Part,
  requestedSpec,
} from "@millrace/domain/applications/request.ts";
import { applicationsView, deploymentsView } from "@millrace/domain/applications/views.ts";
import type { Loaded } from "@millrace/eventlog/aggregate.ts";
import { ask } from "@millrace/eventlog/asks.ts";
import { readsOf } from "@millrace/eventlog/execute.ts";
import { listNodes } from "@millrace/eventlog/presence.ts";
import * as HttpApiBuilder from "effect/http-api/HttpApiBuilder";
import { accepted, inWords, seenOf } from "../answers.ts";
import { type Asked, reachOf } from "../asked.ts";
import {
  carryOutAll,
  commands,
  generationSeen,
  type Handle,
  handle,
  invalidInput,
  json,
  positionOf,
  type Request,
  type Together,
} from "../command.ts";
import { fail, problemOfRefusal } from "../failures.ts";
import { type Gateway, loadOwn } from "../gateway.ts";
import { history } from "../history.ts";
import { differences, past } from "../past.ts";
import { answerPage, type ListQuery, list, readPage } from "../queries.ts";
import { mayName, namesSecrets } from "./application-secrets.ts";
import { uploadNamed } from "./uploads.ts";

const referenceOf = (request: Request): string => (request.params as { id: string }).id;

/** As lists show it. */
function listedDeployment({ spec, status, ...entity }: any): unknown {
  const { requested: _, ...listedSpec } = spec;
  const { phases: __, compensations: ___, ...listedStatus } = status;
  return { ...entity, spec: listedSpec, status: listedStatus };
}

export const applicationRoutes = (gateway: Gateway) =>
  HttpApiBuilder.group(Api, "applications", (handlers) => {
    const applications = commands(gateway, application);
    const pastApplications = past(gateway, application);
    const pastDeployments = past(gateway, deployment);
    return handlers
      .handle(
        "createApplication",
        applications.create(async ({ payload }, asked) => {
          const host = hostOf(gateway, asked, payload.name);
          const archive = await uploadNamed(gateway, asked, payload.source);
          // It lives where its bytes lie.
          const home = archive === undefined ? {} : { node: archive.node };
          const spec = reserved(gateway, { ...home, ...payload } as ApplicationInput, host);
          mayName(asked, spec);
          return { do: "create", spec, host };
        }),
      )
      .handle("listApplications", list(gateway, applicationsView, { query: inWords }))
      .handle("getApplication", pastApplications.get())
      .handle(
        "changeApplication",
        applications.change(async ({ payload, params }, seen, asked) => {
          const asks = payload as Omit<ChangeApplication, "do">;
          await uploadNamed(gateway, asked, payload.source);
          const own =
            payload.domains === undefined && !namesSecrets(asks)
              ? undefined
              : (await loadOwn(gateway, application, asked, params.id)).state;
          mayName(asked, asks, own?.spec ?? {});
          const change = reserved(gateway, asks, own?.host ?? "");
          return { do: "change", ...change, ...seenOf(seen) };
        }),
      )
      .handle("deleteApplication", deleteHandler(gateway))
      .handle("historyOfApplication", history(gateway, application))
      .handle("diffApplication", pastApplications.diff())
      .handle("seeApplication", seeHandler(gateway))
      .handle("deployApplication", deployHandler(gateway, "manual"))
      .handle("planRollback", planHandler(gateway))
      .handle("rollBackApplication", deployHandler(gateway, "rollback"))
      .handle("restartApplication", deployHandler(gateway, "restart"))
      .handle(
        "startApplication",
        applications.act((_, seen) => ({ do: "start", ...seenOf(seen) }), { status: 202 }),
      )
      .handle(
        "stopApplication",
        applications.act((_, seen) => ({ do: "stop", ...seenOf(seen) }), { status: 202 }),
      )
      .handle(
        "scaleApplication",
        applications.act(({ payload }, seen) => ({ do: "scale", ...payload, ...seenOf(seen) }), { status: 202 }),
      )
      .handle("listDeploymentsOfApplication", deploymentsOf(gateway))
      .handle("listDeployments", list(gateway, deploymentsView, { query: inWords, show: listedDeployment }))
      .handle("getDeployment", pastDeployments.get())
      .handle("cancelDeployment", cancelHandler(gateway))
      .handle("historyOfDeployment", history(gateway, deployment))
      .handle("diffDeployment", pastDeployments.diff())
      .handle("listNodes", nodes(gateway));
  });

const hostOf = ({ appsDomain }: Gateway, asked: Asked, name: string): string =>
  `${name}.${asked.organisation!.name}.${appsDomain}`;

/** Hosts below the installation's own domain are given out by it, so that nobody takes what is to be another's. */
function reserved<I extends { readonly domains?: ReadonlyArray<string> }>(
  { appsDomain }: Gateway,
  input: I,
  own: string,
): I {
  const place = (input.domains ?? []).findIndex((host) => host !== own && `.${host}`.endsWith(`.${appsDomain}`));
  if (place === -1) return input;
  return fail(
    invalidInput(
      `/body/domains/${place}`,
      `${appsDomain} is this installation's own: every application has one host below it`,
      "Choose a host of another domain.",
    ),
  );
}

/** Only to be told apart from a repeat: the first try's own commands are in the log. */
const sameAgain = (state: ApplicationState, made: string): ReadonlyArray<Part> => [
  { kind: application, id: state.id, command: { do: "start" } },
  { kind: deployment, id: made, command: { do: "cancel" } },
];

/** The release that is gone back to: a deployment by id. @throws Failed */
async function targetFor(gateway: Gateway, state: ApplicationState, trigger: Deploying, to: string | undefined) {
  const found = await releaseFor(readsOf(gateway.log), state, trigger, to);
  return "refused" in found ? fail(problemOfRefusal(found)) : found.target;
}

const seeHandler = <R extends Request>(gateway: Gateway): Handle<R> =>
  handle(gateway, async (request, asked) => {
    const { id, state } = await loadOwn(gateway, application, asked, referenceOf(request));
    const { node, organisation } = state;
    if (node === null) {
      return json({ at: new Date().toISOString(), stopped: false, route: null, containers: [], differences: [] });
    }
    return json(await ask(gateway.log.nats, applicationSeen, node, { organisation, application: id }));
  });

const deployHandler = <R extends Request>(gateway: Gateway, trigger: Deploying): Handle<R> =>
  handle(gateway, async (request, asked) => {
    const seen = generationSeen(request, false);
    const { id } = await loadOwn(gateway, application, asked, referenceOf(request));
    const { ref, to } = (request.payload ?? {}) as { ref?: string; to?: string };
    const plan: Together["plan"] = async ({ makeId, isRepeat }) => {
      const loaded = await loadOwn(gateway, application, asked, id);
      const { state } = loaded;
      const made = makeId(deployment.prefix);
      if (isRepeat(loaded)) return sameAgain(state, made);
      const plan = await planDeployment(readsOf(gateway.log), state, { deployment: made, trigger, ref, to, seen });
      return "refused" in plan ? fail(problemOfRefusal(plan)) : plan;
    };
    const { loaded, headers } = await carryOutAll(gateway, request, asked, {
      target: `${asked.route} ${id}`,
      plan,
      isOvertaken,
    });
    return accepted(deployment, loaded[1]!, headers);
  });

const cancelHandler = <R extends Request>(gateway: Gateway): Handle<R> =>
  handle(gateway, async (request, asked) => {
    const { id } = await loadOwn(gateway, deployment, asked, referenceOf(request));
    const { reason } = (request.payload ?? {}) as { reason?: string };
    const seen = generationSeen(request, false);
    const plan: Together["plan"] = async ({ isRepeat }) => {
      const loaded = await loadOwn(gateway, deployment, asked, id);
      if (seen !== undefined && seen !== loaded.state.generation) {
        fail(problemOfRefusal({ refused: "precondition", expected: seen, actual: loaded.state.generation }));
      }
      const parts = cancelDeployment(loaded.state, reason);
      // The deployment remembers the command, whether it waited then or ran.
      return isRepeat(loaded) ? parts.slice(-1) : parts;
    };
    const { loaded, headers } = await carryOutAll(gateway, request, asked, {
      target: `${asked.route} ${id}`,
      plan,
      isOvertaken,
    });
    return accepted(deployment, loaded[loaded.length - 1]!, headers);
  });

const deleteHandler = <R extends Request>(gateway: Gateway): Handle<R> =>
  handle(gateway, async (request, asked) => {
    const seen = generationSeen(request, true);
    const { id } = await ownOrRemoved(gateway, asked, referenceOf(request));
    const plan: Together["plan"] = async ({ isRepeat }) => {
      const loaded = await gateway.log.aggregates.load(application, id);
      if (isRepeat(loaded)) return [{ kind: application, id, command: { do: "start" } }];
      const active = await deploymentNamed(readsOf(gateway.log), loaded.state.active);
      return deleteApplication(loaded.state, active, seen);
    };
    const { loaded, headers } = await carryOutAll(gateway, request, asked, {
      target: `${asked.route} ${id}`,
      plan,
      isOvertaken,
    });
    return accepted(application, loaded[0]!, headers);
  });

/** Also when it is gone: a repeat of its removal, by id, is answered like the first time. */
async function ownOrRemoved(gateway: Gateway, asked: Asked, reference: string): Promise<Loaded<ApplicationState>> {
  if (!isId(application.prefix, reference)) return loadOwn(gateway, application, asked, reference);
  const loaded = await gateway.log.aggregates.load(application, reference);
  if (loaded.organisation === asked.organisation!.id) return loaded;
  return fail(new NotFound({ detail: "There is no such application." }));
}

const planHandler = <R extends Request>(gateway: Gateway): Handle<R> =>
  handle(gateway, async (request, asked) => {
    const { seq, state } = await loadOwn(gateway, application, asked, referenceOf(request));
    const { to } = (request.query ?? {}) as { to?: string };
    const target = await targetFor(gateway, state, "rollback", to);
    const release = state.releases.find((one) => one.deployment === target?.id)!;
    const now = await deploymentNamed(readsOf(gateway.log), state.live?.deployment);
    const { requested } = requestedSpec(state.spec!, state.generation, "rollback", target);
    const body = {
      to: release,
      from: state.live,
      commit: { from: state.live!.commit, to: release.commit },
      changes: differences(now?.requested ?? {}, requested),
    };
    return json(body, { headers: { "millrace-position": positionOf(application.context, seq) } });
  });

const deploymentsOf = <R extends Request>(gateway: Gateway): Handle<R> =>
  handle(gateway, async (request, asked) => {
    const { id } = await ownOrRemoved(gateway, asked, referenceOf(request));
    const query = (asks: ListQuery) => ({ ...inWords(asks), application: id });
    const options = { query, show: listedDeployment };
    return answerPage(await readPage(gateway, deploymentsView, request, asked.organisation!.id, options));
  });

/** Where the applications live that the caller reaches; undefined: it reaches all of them. */
async function nodesReached(gateway: Gateway, asked: Asked): Promise<ReadonlySet<string | null> | undefined> {
  const reach = reachOf(asked);
  if (reach.length === 0) return undefined;
  const ids = [...new Set(reach.flatMap((set) => [...set]))].filter((id) => isId(application.prefix, id));
  const loaded = await Promise.all(ids.map((id) => gateway.log.aggregates.load(application, id)));
  const own = loaded.filter(({ id, organisation }) => organisation === asked.organisation!.id && within(reach, [id]));
  return new Set(own.map(({ state }) => homeOf(state)));
}

/** Nodes by name, each with the workers of applications that are there now. */
const nodes = <R extends Request>(gateway: Gateway): Handle<R> =>
  handle(gateway, async (_, asked) => {
    const seen = await nodesReached(gateway, asked);
    const workers = [...(await listNodes(gateway.log.nats))]
      .filter(({ service, node }) => service === "orchestrator" && (seen === undefined || seen.has(node)))
      .sort((a, b) => (a.instance < b.instance ? -1 : 1));
    const names = [...new Set(workers.map(({ node }) => node))].sort();
    return json({
      items: names.map((name) => ({
        name,
        workers: workers
          .filter(({ node }) => node === name)
          .map(({ instance, service, version, startedAt, capabilities, freeBytes, docker }) => ({
            instance,
            service,
            version,
            startedAt,
            capabilities,
            freeBytes,
            docker: "missing" in docker ? { missing: docker.missing } : { version: docker.version },
          })),
      })),
    });
  });
