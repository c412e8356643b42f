/** One command from HTTP through the log to the read model and the feed, as an OTLP backend is told of it. */
import { randomBytes } from "node:crypto";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { CONTEXTS } from "@millrace/domain/contexts.ts";
import { organisation } from "@millrace/domain/identity/organisation.ts";
import { VIEWS } from "@millrace/domain/views.ts";
import { readCommits } from "@millrace/eventlog/aggregate.ts";
import { DeadLetters } from "@millrace/eventlog/deadletters.ts";
import { EventLog } from "@millrace/eventlog/eventlog.ts";
import { makeLogger } from "@millrace/eventlog/logging.ts";
import { Postgres } from "@millrace/eventlog/postgres.ts";
import { startProjections } from "@millrace/eventlog/projection-engine.ts";
import { viewProjection } from "@millrace/eventlog/projection-state.ts";
import { startRelay } from "@millrace/eventlog/relay.ts";
import { parseTraceparent, startTracing, tracingEnabled, withSpan } from "@millrace/eventlog/tracing.ts";
import * as assert from "uvu/assert";
import { ask, testGateway } from "./harness/gateway.ts";
import { suite, type TestContext } from "./harness/suite.ts";

const test = suite("traces end to end");

interface OtlpSpan {
  readonly traceId: string;
  readonly spanId: string;
  readonly parentSpanId?: string;
  readonly name: string;
  readonly kind: number;
  readonly links?: ReadonlyArray<{ readonly traceId: string; readonly spanId: string }>;
  readonly attributes: ReadonlyArray<{
    readonly key: string;
    readonly value: { readonly stringValue?: string; readonly intValue?: number };
  }>;
  readonly status?: { readonly code?: number };
  readonly service: string;
}

/** A backend that takes OTLP over HTTP in JSON, as any other does. */
async function openBackend({ defer }: TestContext) {
  const spans: OtlpSpan[] = [];
  const server = createServer(async (request, response) => {
    const chunks: Buffer[] = [];
    for await (const chunk of request) chunks.push(chunk as Buffer);
    assert.is(request.url, "/v1/traces");
    assert.is(request.headers["content-type"], "application/json");
    for (const { resource, scopeSpans } of JSON.parse(Buffer.concat(chunks).toString("utf8")).resourceSpans) {
      const service = resource.attributes.find((one: { key: string }) => one.key === "service.name").value.stringValue;
      for (const scope of scopeSpans) for (const span of scope.spans) spans.push({ ...span, service });
    }
    response.setHeader("content-type", "application/json");
    response.end("{}");
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  defer(() => {
    server.closeAllConnections();
    return new Promise((resolve) => server.close(resolve));
  });
  const find = async (what: string, accept: (span: OtlpSpan) => boolean): Promise<OtlpSpan> => {
    const deadline = Date.now() + 30_000;
    for (;;) {
      const found = spans.find(accept);
      if (found !== undefined) return found;
      if (Date.now() > deadline) throw new Error(`no span: ${what} among ${spans.map(({ name }) => name).join(", ")}`);
      await new Promise((resolve) => setTimeout(resolve, 25));
    }
  };
  return { url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`, spans, find };
}

const attribute = (span: OtlpSpan, key: string) => {
  const value = span.attributes.find((one) => one.key === key)?.value;
  return value?.stringValue ?? value?.intValue;
};

test("one command is followed from HTTP to the read model and the feed", async (context) => {
  const { defer } = context;
  const backend = await openBackend(context);
  const endTracing = await startTracing({
    service: "test",
    version: "1",
    env: { OTEL_EXPORTER_OTLP_ENDPOINT: backend.url },
  });
  defer(endTracing);
  const { url, owner, config } = await testGateway();
  const log = await EventLog.open(
    { url: config.natsUrl, user: config.natsUser!, password: config.natsPassword!, name: "tracing-test", replicas: 1 },
    Object.keys(CONTEXTS),
  );
  defer(() => log.close());
  const postgres = new Postgres({ url: config.postgresUrl, name: "tracing-test" });
  defer(() => postgres.close());
  const quiet = makeLogger({ service: "test", level: "silent" });
  const view = VIEWS.find(({ kind }) => kind === organisation)!;
  const deadLetters = new DeadLetters(log.nats);
  const projections = startProjections({
    nats: log.nats,
    postgres,
    deadLetters,
    projections: [viewProjection(view)],
    log: quiet,
  });
  defer(() => projections.stop());
  const ending = new AbortController();
  const kinds = CONTEXTS.identity!.kinds;
  const relay = startRelay({
    nats: log.nats,
    context: "identity",
    kinds,
    signal: ending.signal,
    log: quiet,
    park: async () => {},
  });
  defer(() => {
    ending.abort();
    return relay.ended;
  });

  const trace = randomBytes(16).toString("hex");
  const client = randomBytes(8).toString("hex");
  const answer = await ask(url, "POST", "/v1/organisations", {
    token: owner,
    headers: { traceparent: `00-${trace}-${client}-01` },
    body: { name: "traced", title: "Traced" },
  });
  assert.is(answer.status, 201, answer.text);

  const http = await backend.find("HTTP", (span) => span.traceId === trace && span.name === "POST /v1/organisations");
  assert.equal([http.parentSpanId, http.kind, http.service], [client, 2, "millrace-test"]);
  assert.equal(
    [attribute(http, "http.route"), attribute(http, "http.response.status_code")],
    ["/v1/organisations", 201],
  );
  const command = await backend.find(
    "command",
    (span) => span.traceId === trace && span.name === "execute identity.organisation",
  );
  assert.is(command.parentSpanId, http.spanId);
  assert.equal(
    [attribute(command, "millrace.aggregate"), attribute(command, "millrace.outcome")],
    [answer.body.id, "done"],
  );
  for (const name of ["decide identity.organisation", "append evt.identity"]) {
    assert.is(
      (await backend.find(name, (span) => span.traceId === trace && span.name === name)).parentSpanId,
      command.spanId,
    );
  }

  const commits = [];
  for await (const commit of readCommits(log.nats, organisation, answer.body.id)) commits.push(commit);
  const stored = parseTraceparent(commits[0]!.trace)!;
  assert.equal([stored.traceId, stored.spanId], [trace, http.spanId], "the commit carries the request's trace");

  // What reads the log later links to the command's trace and is no part of it.
  for (const name of [`project ${view.name}`, "relay feed.identity"]) {
    const span = await backend.find(
      name,
      (one) => one.name === name && one.links?.some((link) => link.traceId === trace) === true,
    );
    assert.is(span.links!.find((link) => link.traceId === trace)!.spanId, http.spanId);
    assert.is.not(span.traceId, trace);
    assert.not.ok(span.parentSpanId);
    assert.is(span.kind, 5);
  }
  assert.equal(
    backend.spans
      .filter((span) => span.traceId === trace)
      .map(({ name }) => name)
      .sort(),
    ["POST /v1/organisations", "append evt.identity", "decide identity.organisation", "execute identity.organisation"],
  );
  const read = await ask(url, "GET", `/v1/organisations/${answer.body.id}`, { token: owner });
  assert.is(read.body.spec?.title ?? read.body.title, "Traced");
});

test("a span at hand gives log lines its trace id; work that fails is marked", async (context) => {
  const backend = await openBackend(context);
  const endTracing = await startTracing({
    service: "test",
    version: "1",
    env: { OTEL_EXPORTER_OTLP_TRACES_ENDPOINT: `${backend.url}/v1/traces` },
  });
  context.defer(endTracing);
  const lines: string[] = [];
  const log = makeLogger({ service: "test", stream: { write: (line) => void lines.push(line) } });
  const failing = withSpan("failing", {}, async () => {
    await new Promise((resolve) => setImmediate(resolve));
    log.info("inside");
    throw Object.assign(new Error("no"), { _tag: "LogUnavailable" });
  });
  assert.is(
    await failing.then(
      () => "ok",
      () => "failed",
    ),
    "failed",
  );
  const span = await backend.find("failing", ({ name }) => name === "failing");
  assert.equal([span.status?.code, attribute(span, "error.type")], [2, "LogUnavailable"]);
  assert.is(JSON.parse(lines[0]!).traceId, span.traceId);
});

test("a backend that is not there, or never answers, holds up neither work nor the end", { timeoutMs: 20_000 }, async ({
  defer,
}) => {
  const deaf = createServer(() => {});
  await new Promise<void>((resolve) => deaf.listen(0, "127.0.0.1", resolve));
  defer(() => {
    deaf.closeAllConnections();
    return new Promise((resolve) => deaf.close(resolve));
  });
  for (const port of [1, (deaf.address() as AddressInfo).port]) {
    const env = { OTEL_EXPORTER_OTLP_ENDPOINT: `http://127.0.0.1:${port}` };
    const endTracing = await startTracing({ service: "test", version: "1", env });
    assert.ok(tracingEnabled());
    assert.is(await withSpan("alone", {}, async () => 42), 42);
    await endTracing();
    assert.not.ok(tracingEnabled());
  }
});

test.run();
