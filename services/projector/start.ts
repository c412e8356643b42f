/**
 * The projector as a service: folds every context's log into PostgreSQL, and relays it to the public feed. The relay
 * needs no PostgreSQL, and neither waits for the other.
 */
import { CONTEXTS } from "@millrace/domain/contexts.ts";
import { VIEWS } from "@millrace/domain/views.ts";
import { Addresses } from "@millrace/eventlog/addresses.ts";
import { Aggregates } from "@millrace/eventlog/aggregate.ts";
import { authoritiesOf } from "@millrace/eventlog/authorities.ts";
import { connectNats, type Nats } from "@millrace/eventlog/connection.ts";
import { DeadLetters } from "@millrace/eventlog/deadletters.ts";
import { EventLog } from "@millrace/eventlog/eventlog.ts";
import type { Check } from "@millrace/eventlog/health.ts";
import { Leases } from "@millrace/eventlog/leases.ts";
import type { Logger } from "@millrace/eventlog/logging.ts";
import { Postgres } from "@millrace/eventlog/postgres.ts";
import { type Projections, startProjections } from "@millrace/eventlog/projection-engine.ts";
import { historyProjection } from "@millrace/eventlog/projection-history.ts";
import { viewProjection } from "@millrace/eventlog/projection-state.ts";
import { type Relay, startRelay } from "@millrace/eventlog/relay.ts";
import { parseMasterKeys, Sealing } from "@millrace/eventlog/sealing.ts";
import { defineService, type Running } from "@millrace/eventlog/service.ts";
import { rangesOf, streamSettings } from "@millrace/eventlog/settings.ts";
import { ensureStreams } from "@millrace/eventlog/streams.ts";
import { checkUpcasts } from "@millrace/eventlog/upcast.ts";
import { PROJECTOR_SETTINGS, type ProjectorConfig } from "./config.ts";
import { type Outbox, startOutbox } from "./outbox/outbox.ts";
import { answerForRelay, parkForRelay } from "./unmappable.ts";

const contexts = Object.values(CONTEXTS);

/** Everything that is folded: the declared views, and the history of every context. */
export const PROJECTIONS = [...VIEWS.map(viewProjection), ...contexts.map(historyProjection)];

/**
 * Starts it inside this process. What is away (NATS, PostgreSQL) is waited for.
 * @throws Error when an event is declared in a way that old ones could not be read
 */
export async function startProjector(config: ProjectorConfig, log: Logger): Promise<Running> {
  const wrong = checkUpcasts(contexts);
  if (wrong.length > 0) throw new Error(`Events are declared wrongly:\n${wrong.join("\n")}`);
  const { natsUrl: url, natsUser: user, natsPassword: password, replicas, postgresUrl } = config;
  const nats = await connectNats({
    url,
    name: "projector",
    replicas,
    ...(user === undefined ? {} : { user }),
    ...(password === undefined ? {} : { password }),
  });
  await ensureStreams(nats, Object.keys(CONTEXTS), streamSettings(config));
  // A connection per build under way and a few for what is asked beside.
  const postgres = new Postgres({ url: postgresUrl, name: "projector", most: Math.min(20, PROJECTIONS.length + 4) });
  const deadLetters = new DeadLetters(nats, replicas);
  const projections = startProjections({ nats, postgres, deadLetters, projections: PROJECTIONS, log });
  const stopping = new AbortController();
  const relays = contexts.map(({ name: context, kinds }) =>
    startRelay({
      nats,
      context,
      kinds,
      signal: stopping.signal,
      log,
      park: (letter) => parkForRelay(nats, deadLetters, letter),
    }),
  );
  const outbox = await openOutbox(config, nats, log);
  await firstSight(projections);
  const answering = answerForRelay(deadLetters, stopping.signal);
  return {
    ready: async () => [...(await checks(nats, projections, relays)), ...outbox.checks()],
    stop: async () => {
      await outbox.stop();
      stopping.abort();
      await Promise.all([projections.stop(), answering, ...relays.map(({ ended }) => ended)]);
      await Promise.all([postgres.close(), nats.close()]);
    },
  };
}

const NO_KEY: Outbox = {
  checks: () => [
    {
      name: "outbox",
      ok: true,
      detail: "nothing is sent to webhooks and channels: give the projector the master key (MILLRACE_MASTER_KEY_FILE)",
    },
  ],
  stop: async () => {},
};

/** What is sent out of the feed: it waits for no PostgreSQL. */
async function openOutbox(config: ProjectorConfig, nats: Nats, logger: Logger): Promise<Outbox> {
  const { masterKey, webhookAllow, outgoingCa, outboxRequests, outboxTimeoutMs, outboxRetryPermille, replicas } =
    config;
  if (masterKey === undefined) return NO_KEY;
  const authorities = authoritiesOf(outgoingCa);
  const leases = await Leases.open(nats, { node: "projector" });
  const sealing = await Sealing.open({ nats, masterKeys: parseMasterKeys(masterKey), replicas });
  const outbox = await startOutbox({
    log: new EventLog(nats, new Aggregates(nats)),
    logger,
    leases,
    sealing,
    contexts: contexts.map(({ name }) => name),
    addresses: new Addresses(rangesOf(webhookAllow)),
    ...(authorities === undefined ? {} : { authorities }),
    ...(outboxRequests === undefined ? {} : { requests: outboxRequests }),
    ...(outboxTimeoutMs === undefined ? {} : { timeoutMs: outboxTimeoutMs }),
    ...(outboxRetryPermille === undefined ? {} : { retryScale: outboxRetryPermille / 1_000 }),
  });
  return {
    checks: outbox.checks,
    stop: async () => {
      await outbox.stop();
      await leases.close();
      sealing.close();
    },
  };
}

const SIGHT_MS = 10_000;

/** Waits a moment for what is quickly there, so that a fresh installation answers queries when it says that it is ready. */
async function firstSight(projections: Projections): Promise<void> {
  const deadline = Date.now() + SIGHT_MS;
  while (projections.unseen().length > 0 && Date.now() < deadline) {
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

const ANSWER_MS = 1_000;

/** Whether the server answers now: a client that reconnects is not closed. */
async function answers({ nc }: Nats): Promise<boolean> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<boolean>((resolve) => {
    timer = setTimeout(resolve, ANSWER_MS, false);
  });
  const answer = nc.rtt().then(
    () => true,
    () => false,
  );
  return Promise.race([answer, late]).finally(() => clearTimeout(timer));
}

async function checks(nats: Nats, projections: Projections, relays: ReadonlyArray<Relay>): Promise<Check[]> {
  const trouble = projections.trouble();
  const checks: Check[] = [
    { name: "nats", ok: await answers(nats) },
    trouble === undefined ? { name: "projections", ok: true } : { name: "projections", ok: false, detail: trouble },
  ];
  for (const { name, context, state, reason, shown } of projections.status()) {
    const detail = reason === undefined ? {} : { detail: reason };
    // A build that readers do not see yet is nobody's loss, unless it cannot go on.
    if (shown || state === "stopped") {
      checks.push({
        name: `projection ${name} ${context}`,
        ok: state === "following" || state === "standby",
        ...detail,
      });
    }
  }
  for (const relay of relays) {
    const status = relay.status();
    const detail = "reason" in status ? { detail: status.reason } : {};
    checks.push({
      name: `relay ${relay.context}`,
      ok: status.state === "relaying" || status.state === "standby",
      ...detail,
    });
  }
  return checks;
}

export const projectorService = defineService({
  name: "projector",
  settings: PROJECTOR_SETTINGS,
  start: (config, shell) => startProjector(config, shell.log),
});
