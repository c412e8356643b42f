/** The gateway as a service: its parts put together, started and stopped in order. */
import { createHash, createSecretKey, type KeyObject } from "node:crypto";
import type { IncomingMessage, Server, ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import * as NodeHttpServer from "@effect/platform-node/NodeHttpServer";
import { Api } from "@millrace/contracts/api.ts";
import { LINK_CHARACTERS } from "@millrace/contracts/applications/logs.ts";
import { LIMITS } from "@millrace/contracts/http.ts";
import { CONTEXTS } from "@millrace/domain/contexts.ts";
import { Addresses } from "@millrace/eventlog/addresses.ts";
import { ticketKeyOf } from "@millrace/eventlog/bytes-ticket.ts";
import { DeadLetters } from "@millrace/eventlog/deadletters.ts";
import { ensureDeliveries } from "@millrace/eventlog/deliveries.ts";
import { EventLog } from "@millrace/eventlog/eventlog.ts";
import type { Check } from "@millrace/eventlog/health.ts";
import { Health } from "@millrace/eventlog/health.ts";
import { makeLogger } from "@millrace/eventlog/logging.ts";
import { openLogs } from "@millrace/eventlog/logs.ts";
import { OutboxRecords } from "@millrace/eventlog/outbox-records.ts";
import { Postgres } from "@millrace/eventlog/postgres.ts";
import { type MasterKey, parseMasterKeys, Sealing } from "@millrace/eventlog/sealing.ts";
import { ensureTelemetry } from "@millrace/eventlog/series.ts";
import { defineService, type Running, type Shell, VERSION } from "@millrace/eventlog/service.ts";
import { logLimits, rangesOf, streamSettings } from "@millrace/eventlog/settings.ts";
import * as ByteSize from "effect/ByteSize";
import * as Cause from "effect/Cause";
import * as Effect from "effect/Effect";
import * as Exit from "effect/Exit";
import * as HttpIncomingMessage from "effect/http/HttpIncomingMessage";
import * as HttpRouter from "effect/http/HttpRouter";
import { HttpServerError } from "effect/http/HttpServerError";
import { HttpServerRequest } from "effect/http/HttpServerRequest";
import type { HttpServerResponse } from "effect/http/HttpServerResponse";
import * as HttpApiBuilder from "effect/http-api/HttpApiBuilder";
import * as Layer from "effect/Layer";
import * as Scope from "effect/Scope";
import { askedOf } from "./asked.ts";
import { authorization } from "./authorization.ts";
import { bootstrap } from "./bootstrap.ts";
import { GATEWAY_SETTINGS, type GatewayConfig, listed } from "./config.ts";
import { openDocuments } from "./documents.ts";
import { Erasures } from "./erasures.ts";
import { answerDefect } from "./failures.ts";
import { openFlatManager } from "./flat-manager/open.ts";
import { openFront } from "./front.ts";
import type { Gateway } from "./gateway.ts";
import { Hub } from "./hub.ts";
import { IdentityDirectory } from "./identity.ts";
import { CONNECTIONS_USUAL, Limits } from "./limits.ts";
import { RepositoryAccess } from "./publishing/access.ts";
import { alertRoutes } from "./routes/alerts.ts";
import { applicationRoutes } from "./routes/applications.ts";
import { automationRoutes } from "./routes/automation.ts";
import { buildRoutes } from "./routes/builds.ts";
import { channelRoutes } from "./routes/channels.ts";
import { deviceExportRoutes } from "./routes/device-exports.ts";
import { deviceOperationRoutes, deviceScanRoutes } from "./routes/device-operations.ts";
import { deviceSetRoutes } from "./routes/device-sets.ts";
import { deviceSyncRoutes } from "./routes/device-syncs.ts";
import { deviceRoutes } from "./routes/devices.ts";
import { openSubscriptions } from "./routes/events.ts";
import { identityRoutes } from "./routes/identity.ts";
import { logRoutes } from "./routes/logs.ts";
import { memberRoutes } from "./routes/members.ts";
import { metricsRoutes } from "./routes/metrics.ts";
import { processRoutes } from "./routes/processes.ts";
import { repositoryRoutes } from "./routes/repositories.ts";
import { ruleRoutes } from "./routes/rules.ts";
import { secretsRoutes } from "./routes/secrets.ts";
import { subscriberRoutes } from "./routes/subscribers.ts";
import { systemRoutes } from "./routes/system.ts";
import { uploadRoutes } from "./routes/uploads.ts";
import { webhookRoutes } from "./routes/webhooks.ts";
import { workRoutes } from "./routes/work.ts";
import { type Gate, openGate } from "./subscribers/gate.ts";
import { answerUnmatched } from "./unmatched.ts";
import { TokenUses } from "./uses.ts";
import { Waits } from "./waits.ts";

type NodeHandler = (request: IncomingMessage, response: ServerResponse) => void;

/** Every context's routes. */
const routes = (gateway: Gateway, gate: () => Gate | undefined) =>
  [
    identityRoutes(gateway),
    memberRoutes(gateway),
    secretsRoutes(gateway),
    systemRoutes(gateway),
    workRoutes(gateway),
    applicationRoutes(gateway),
    automationRoutes(gateway),
    ruleRoutes(gateway),
    processRoutes(gateway),
    alertRoutes(gateway),
    metricsRoutes(gateway),
    logRoutes(gateway),
    webhookRoutes(gateway),
    channelRoutes(gateway),
    subscriberRoutes(gateway, gate),
    uploadRoutes(gateway),
    deviceRoutes(gateway),
    deviceSetRoutes(gateway),
    repositoryRoutes(gateway),
    buildRoutes(gateway),
    deviceOperationRoutes(gateway),
    deviceScanRoutes(gateway),
    deviceSyncRoutes(gateway),
    deviceExportRoutes(gateway),
  ] as const;

/** The API as a function of Node's request and response. */
async function openApi(gateway: Gateway, gate: () => Gate | undefined, scope: Scope.Scope): Promise<NodeHandler> {
  const layer = HttpApiBuilder.layer(Api).pipe(
    Layer.provide([...routes(gateway, gate)]),
    Layer.provide(authorization(gateway)),
  );
  const answerAll = (cause: Cause.Cause<unknown>): Effect.Effect<HttpServerResponse, unknown, HttpServerRequest> =>
    Effect.flatMap(HttpServerRequest, (request) => {
      const failure = cause.reasons.find((reason) => reason._tag === "Fail")?.error;
      if (failure instanceof HttpServerError && failure.reason._tag === "RouteNotFound") {
        return Effect.succeed(answerUnmatched(request));
      }
      // The client has gone: nobody is there to be answered.
      if (Cause.hasInterruptsOnly(cause)) return Effect.failCause(cause);
      const asked = askedOf(request);
      gateway.logger.error({ err: Cause.squash(cause), requestId: asked.requestId, route: asked.route }, "a defect");
      return Effect.succeed(answerDefect(asked));
    });
  const open = Effect.gen(function* () {
    const app = yield* HttpRouter.toHttpEffect(layer);
    return yield* NodeHttpServer.makeHandler(Effect.catchCause(app, answerAll), { scope });
  });
  return Effect.runPromise(
    open.pipe(
      // One address for one thing: no other spelling of it is found.
      Effect.provideService(HttpRouter.RouterConfig, {
        caseSensitive: true,
        ignoreDuplicateSlashes: false,
        ignoreTrailingSlash: false,
        // A shared link is longer than any id.
        maxParamLength: LINK_CHARACTERS,
      }),
      Effect.provideService(HttpIncomingMessage.MaxBodySize, ByteSize.bytes(LIMITS.bodyBytes)),
      Effect.provide(NodeHttpServer.layerHttpServices),
      Scope.provide(scope),
    ),
  );
}

const listen = (server: Server, host: string, port: number): Promise<AddressInfo> =>
  new Promise((resolve, reject) => {
    server.once("error", reject);
    server.listen(port, host, () => {
      server.off("error", reject);
      resolve(server.address() as AddressInfo);
    });
  });

/** Ends listening, lets what is under way come to its end, and cuts what takes too long. */
async function close(server: Server): Promise<void> {
  const closed = new Promise<void>((resolve) => server.close(() => resolve()));
  server.closeIdleConnections();
  const cut = setTimeout(() => server.closeAllConnections(), 7_000);
  await closed;
  clearTimeout(cut);
}

/** Resolves to this machine wherever resolvers know RFC 6761. */
const APPS_DOMAIN = "apps.localhost";
const ATTACHMENT_GIB = 10;

/** A key, and not bytes: those would be made into one for each command. */
const digestKeyOf = ({ bytes }: MasterKey): KeyObject =>
  createSecretKey(createHash("sha256").update("millrace digests of commands\n").update(bytes).digest());

const shareKeyOf = ({ bytes }: MasterKey): Uint8Array =>
  createHash("sha256").update("millrace shared links\n").update(bytes).digest();

export interface RunningGateway extends Running {
  readonly url: string;
}

/** @throws when the log cannot be read, the port is taken, or the owner's token is none */
export async function openGateway(config: GatewayConfig, shell: Shell): Promise<RunningGateway> {
  const { log: logger } = shell;
  const log = await EventLog.open(
    {
      url: config.natsUrl,
      ...(config.natsUser === undefined ? {} : { user: config.natsUser }),
      ...(config.natsPassword === undefined ? {} : { password: config.natsPassword }),
      name: "gateway",
      ...streamSettings(config),
    },
    Object.keys(CONTEXTS),
  );
  const postgres = new Postgres({
    url: config.postgresUrl,
    name: "millrace gateway",
    statementTimeoutMs: 10_000,
    connectTimeoutMs: 5_000,
  });
  const identity = new IdentityDirectory();
  const uses = new TokenUses(log, logger);
  const limits = new Limits({
    perMinute: {
      read: config.limitRead,
      write: config.limitWrite,
      expensive: config.limitExpensive,
      address: config.limitAddress,
      tries: config.limitTries,
    },
    trustedProxies: listed(config.trustedProxies),
  });
  const waits = new Waits(log, logger);
  const [masterKey, ...olderKeys] = parseMasterKeys(config.masterKey);
  const sealing = await Sealing.open({
    nats: log.nats,
    masterKeys: [masterKey, ...olderKeys],
    replicas: config.replicas,
  });
  // What is read of the outbox: it may be that no projector has run yet.
  await Promise.all([OutboxRecords.open(log.nats), ensureDeliveries(log.nats)]);
  const erasures = new Erasures(sealing, logger);
  // Samples may be asked for before anybody has sampled.
  await ensureTelemetry(log.nats);
  const gateway: Gateway = {
    log,
    postgres,
    sealing,
    deadLetters: new DeadLetters(log.nats, config.replicas),
    identity,
    uses,
    limits,
    waits,
    logs: await openLogs(log.nats, logLimits(config)),
    appsDomain: config.appsDomain ?? APPS_DOMAIN,
    attachmentGib: config.attachmentGib ?? ATTACHMENT_GIB,
    addresses: new Addresses(rangesOf(config.webhookAllow)),
    logger,
    digestKeys: [digestKeyOf(masterKey), ...olderKeys.map(digestKeyOf)],
    ticketKey: ticketKeyOf(masterKey.bytes),
    shareKeys: [shareKeyOf(masterKey), ...olderKeys.map(shareKeyOf)],
  };
  await identity.start(log, (place) => erasures.add(place));
  await bootstrap(log, identity, logger, config);

  const hub = new Hub({ nats: log.nats, contexts: Object.keys(CONTEXTS), log: logger });
  const gate = openGate({ config, gateway, hub });
  const scope = Scope.makeUnsafe();
  const flatManager = openFlatManager(gateway, config, [masterKey, ...olderKeys]);
  const server = openFront({
    health: shell.health,
    documents: openDocuments(),
    subscriptions: openSubscriptions({
      gateway,
      hub,
      ...(config.limitStreams === undefined ? {} : { perToken: config.limitStreams }),
    }),
    flatManager: (request, response) => flatManager.serve(request, response),
    logger,
    limits,
    connections: config.limitConnections ?? CONNECTIONS_USUAL,
    access: new RepositoryAccess(gateway, flatManager.callers),
    origins: new Set(listed(config.origins)),
    api: await openApi(gateway, () => gate, scope),
  });
  const { address, port, family } = await listen(server, config.host, config.port);
  const url = `http://${family === "IPv6" ? `[${address}]` : address}:${port}`;
  await gate?.opened();
  logger.info({ url }, "listening");

  const ready = async (): Promise<Check[]> => {
    const trouble = identity.trouble;
    const queries = await postgres.ping().then(
      () => undefined,
      (error: Error) => error.message,
    );
    return [
      { name: "identity", ok: trouble === undefined, ...(trouble === undefined ? {} : { detail: trouble }) },
      { name: "nats", ok: !log.nats.nc.isClosed() },
      // Commands, reads of single entities and subscriptions go on without it, so it is told and not held against us.
      { name: "queries", ok: true, ...(queries === undefined ? {} : { detail: `PostgreSQL is away: ${queries}` }) },
      { name: "subscriptions", ok: true, ...(hub.trouble === undefined ? {} : { detail: hub.trouble }) },
      ...(gate === undefined
        ? []
        : [{ name: "subscribers", ok: true, ...(gate.trouble === undefined ? {} : { detail: gate.trouble }) }]),
    ];
  };
  const stop = async (): Promise<void> => {
    // Subscribers come back elsewhere; their sockets would hold the server open.
    const subscriptions = hub.stop();
    waits.stop();
    await close(server);
    await Promise.all([subscriptions, gate?.stop()]);
    await Promise.all([uses.stop(), flatManager.stop()]);
    await identity.stop();
    erasures.stop();
    sealing.close();
    await Effect.runPromise(Scope.close(scope, Exit.void));
    await Promise.all([postgres.close(), log.close()]);
  };
  return { url, ready, stop };
}

export const gatewayService = defineService({
  name: "gateway",
  settings: GATEWAY_SETTINGS,
  ownHttp: true,
  start: openGateway,
});

/** Starts a gateway inside this process, for tests: quiet, and without the process's signals. */
export async function startGateway(config: GatewayConfig): Promise<RunningGateway & { readonly health: Health }> {
  const health = new Health();
  const stopping = new AbortController();
  health.starting("gateway");
  const running = await openGateway(config, {
    name: "gateway",
    version: VERSION,
    log: makeLogger({ service: "gateway", level: "error" }),
    health,
    stopping: stopping.signal,
    crash: (error) => {
      throw error;
    },
  });
  health.started("gateway", running.ready);
  return {
    ...running,
    health,
    stop: () => {
      health.stopping("gateway");
      stopping.abort();
      return running.stop();
    },
  };
}
