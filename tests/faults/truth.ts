/** The log as it is, and whether everything made from it (the feed, the tables in PostgreSQL) says the same, event by event and row by row. */
import { isDeepStrictEqual } from "node:util";
import { CONTEXTS } from "@millrace/domain/contexts.ts";
import type { ContextDeclaration, Kind } from "@millrace/domain/kind.ts";
import type { View } from "@millrace/domain/view.ts";
import { type Folded, fold, unborn } from "@millrace/eventlog/aggregate.ts";
import { FeedEvent, placeText, toFeedMessage } from "@millrace/eventlog/cloudevents.ts";
import { decodeCommitBody, type StoredCommit } from "@millrace/eventlog/commit.ts";
import type { Nats } from "@millrace/eventlog/connection.ts";
import { readBatch } from "@millrace/eventlog/direct.ts";
import { feedState, readFeed } from "@millrace/eventlog/feed.ts";
import type { Postgres } from "@millrace/eventlog/postgres.ts";
import { listCheckpoints } from "@millrace/eventlog/projection-checkpoint.ts";
import { logStream, parseAggregateSubject } from "@millrace/eventlog/subjects.ts";
import { upcast } from "@millrace/eventlog/upcast.ts";

const kindOf = (contexts: Readonly<Record<string, ContextDeclaration>>, { context, kind }: StoredCommit): Kind =>
  contexts[context]!.kinds[kind]!;

export const isPublic = (commit: StoredCommit, type: string): boolean =>
  kindOf(CONTEXTS, commit).events[type]!.toPublic !== null;

/** Every message of a context's log, page by page. @throws Error for a hole in the sequence */
export async function* readLog(nats: Nats, context: string): AsyncGenerator<ReadonlyArray<StoredCommit>> {
  let expected = 1;
  for (;;) {
    const { messages, more } = await readBatch(nats, logStream(context), { seq: expected, batch: 1_000 }, 20_000);
    const commits: StoredCommit[] = [];
    for (const { seq, subject, time, data } of messages) {
      if (seq !== expected) throw new Error(`${context}: sequence ${seq} where ${expected} must stand`);
      expected++;
      const place = parseAggregateSubject(subject);
      if (place === undefined) continue;
      commits.push({ ...decodeCommitBody(data), context, kind: place.kind, aggregate: place.id, subject, seq, time });
    }
    yield commits;
    if (!more) return;
  }
}

/** Every commit of these contexts. */
export async function wholeLog(nats: Nats, contexts: ReadonlyArray<string>): Promise<Map<string, StoredCommit[]>> {
  const logs = new Map<string, StoredCommit[]>();
  for (const context of contexts) {
    const commits: StoredCommit[] = [];
    for await (const page of readLog(nats, context)) commits.push(...page);
    logs.set(context, commits);
  }
  return logs;
}

const MOST = 10;

/** Compares the feed with what its log says, whole messages. @returns what differs, the first few */
export async function auditFeed(nats: Nats, declaration: ContextDeclaration): Promise<string[]> {
  const { name } = declaration;
  const wrong: string[] = [];
  const feed = wholeFeed(nats, name);
  let events = 0;
  let seen = 0;
  for await (const commits of readLog(nats, name)) {
    seen += commits.length;
    for (const commit of commits) {
      for (let index = 0; index < commit.events.length; index++) {
        const message = toFeedMessage(declaration.kinds[commit.kind]!, commit, index);
        if (message === undefined) continue;
        events++;
        const { value: found } = await feed.next();
        const place = placeText(message.place);
        if (found === undefined) wrong.push(`FEED ${name}: ${place} is missing`);
        else if (placeText(found.place) !== place) {
          wrong.push(`FEED ${name}: ${placeText(found.place)} where ${place} must stand`);
        } else if (found.json !== new FeedEvent(message.subject, 0, message.headers, message.data).json) {
          wrong.push(`FEED ${name}: ${place} says something else`);
        }
        if (wrong.length >= MOST) return wrong;
      }
    }
  }
  const { value: more } = await feed.next();
  if (more !== undefined) wrong.push(`FEED ${name}: ${placeText(more.place)} after the log's last event`);
  // A context in which nothing happened has nothing; what the load works on must have something.
  if (events === 0 && (seen > 0 || name === "work")) wrong.push(`FEED ${name}: there was nothing to compare`);
  return wrong;
}

/** What stands on the feed and not in the log, or in another order: it may be behind, never ahead. */
export async function feedAhead(nats: Nats, declaration: ContextDeclaration): Promise<string[]> {
  const places: string[] = [];
  for await (const commits of readLog(nats, declaration.name)) {
    for (const commit of commits) {
      for (let index = 0; index < commit.events.length; index++) places.push(placeText({ seq: commit.seq, index }));
    }
  }
  const wrong: string[] = [];
  let at = 0;
  for await (const { place } of wholeFeed(nats, declaration.name)) {
    const expected = places[at++];
    if (placeText(place) !== expected)
      wrong.push(`FEED ${declaration.name}: ${placeText(place)}, in the log ${expected}`);
    if (wrong.length >= MOST) break;
  }
  return wrong;
}

async function* wholeFeed(nats: Nats, context: string): AsyncGenerator<FeedEvent> {
  const { firstSeq, lastSeq } = await feedState(nats, context);
  for (let seq = firstSeq; seq <= lastSeq; ) {
    const page = await readFeed(nats, context, seq, 1_000);
    if (page.length === 0) throw new Error(`FEED ${context}: nothing at ${seq}, and it ends at ${lastSeq}`);
    yield* page;
    seq = page.at(-1)!.seq + 1;
  }
}

/** @returns whether all of these projections are shown and have come to the log's end; an Error says which is not */
export async function isProjected(
  postgres: Postgres,
  nats: Nats,
  names: ReadonlyArray<{ readonly name: string; readonly context: string }>,
): Promise<boolean> {
  const rows = await listCheckpoints(postgres);
  for (const { name, context } of names) {
    const head = (await nats.jsm.streams.info(logStream(context))).state.last_seq;
    const row = rows.find((one) => one.name === name && one.context === context && one.shown);
    if (row === undefined || row.seq < head) {
      throw new Error(
        `${name} of ${context} is at ${row?.seq ?? "nothing"}, the log at ${head}: ${row?.stoppedReason ?? row?.state}`,
      );
    }
  }
  return true;
}

interface FoldedRow {
  readonly loaded: Folded<unknown>;
  readonly created: number;
  readonly updated: number;
}

const json = (value: unknown): unknown => JSON.parse(JSON.stringify(value));

/** Compares a view's rows, and what the search finds them by, with a fresh fold of the log. */
export async function auditView(
  postgres: Postgres,
  view: View,
  log: AsyncIterable<ReadonlyArray<StoredCommit>>,
): Promise<string[]> {
  const { kind } = view;
  const folded = new Map<string, FoldedRow>();
  for await (const commits of log) {
    for (const commit of commits) {
      if (commit.kind !== kind.kind) continue;
      const before = folded.get(commit.aggregate);
      const loaded = fold(kind, before?.loaded ?? unborn(kind, commit.aggregate), commit);
      folded.set(commit.aggregate, { loaded, created: before?.created ?? commit.time, updated: commit.time });
    }
  }
  const wrong: string[] = [];
  const ids = [...folded.keys()].filter((id) => kind.exists(folded.get(id)!.loaded.state)).sort();
  let found = 0;
  for (let last = ""; ; ) {
    const rows = await postgres.query<Record<string, unknown>>(
      `SELECT * FROM v."${view.name}" WHERE id > $1 ORDER BY id LIMIT 500`,
      [last],
    );
    const titles = await postgres.query<Record<string, unknown>>(
      "SELECT organisation, id, title, text FROM v.search WHERE context = $1 AND kind = $2 AND id = ANY($3)",
      [kind.context, kind.kind, rows.map(({ id }) => id)],
    );
    for (const row of rows) {
      const expected = rowOf(view, folded.get(String(row.id)));
      const id = ids[found++] ?? "nothing";
      if (row.id !== id) wrong.push(`${view.name}: ${row.id} where ${id} must stand`);
      else if (!isDeepStrictEqual(json(row), expected)) {
        wrong.push(`${view.name}: ${id} is\n${JSON.stringify(row)}\nand not\n${JSON.stringify(expected)}`);
      } else if (view.search !== undefined) {
        const { state, organisation } = folded.get(id)!.loaded;
        const sought = { organisation, id, ...view.search(state) };
        const there = titles.find((title) => title.id === id);
        if (!isDeepStrictEqual(json(there ?? null), json(sought)))
          wrong.push(`search: ${id} is ${JSON.stringify(there)}`);
      }
      if (wrong.length >= MOST) return wrong;
    }
    if (rows.length < 500) break;
    last = String(rows.at(-1)!.id);
  }
  if (found !== ids.length) wrong.push(`${view.name}: ${found} rows, not ${ids.length}`);
  return wrong;
}

function rowOf(view: View, folded: FoldedRow | undefined): unknown {
  if (folded === undefined) return undefined;
  const { loaded, created, updated } = folded;
  const { organisation, id, seq, version, state } = loaded;
  const times = { created_at: new Date(created), updated_at: new Date(updated) };
  const columns = Object.entries(view.columns).map(([name, { value }]) => [name, value(state) ?? null]);
  return json({ organisation, id, seq, version, ...times, state, ...Object.fromEntries(columns) });
}

/** Compares the history with the log: every event of a context once, in order, with all that is told of it. */
export async function auditHistory(
  postgres: Postgres,
  declaration: ContextDeclaration,
  log: AsyncIterable<ReadonlyArray<StoredCommit>>,
): Promise<string[]> {
  const wrong: string[] = [];
  let events = 0;
  for await (const commits of log) {
    if (commits.length === 0) continue;
    const rows = await postgres.query<Record<string, unknown>>(
      "SELECT * FROM v.history WHERE context = $1 AND seq BETWEEN $2 AND $3 ORDER BY seq, index",
      [declaration.name, commits[0]!.seq, commits.at(-1)!.seq],
    );
    const expected = commits.flatMap((commit) => historyOf(declaration.kinds[commit.kind]!, commit));
    events += expected.length;
    if (rows.length !== expected.length)
      wrong.push(`history: ${rows.length} rows, not ${expected.length}, up to ${commits.at(-1)!.seq}`);
    for (const [i, row] of rows.entries()) {
      if (!isDeepStrictEqual(json(row), expected[i])) {
        wrong.push(`history: there is\n${JSON.stringify(row)}\nand not\n${JSON.stringify(expected[i])}`);
      }
      if (wrong.length >= MOST) return wrong;
    }
  }
  const [total] = await postgres.query<{ n: number }>("SELECT count(*) AS n FROM v.history WHERE context = $1", [
    declaration.name,
  ]);
  if (total!.n !== events) wrong.push(`history: ${total!.n} rows in all, not ${events}`);
  return wrong;
}

function historyOf(kind: Kind, commit: StoredCommit): unknown[] {
  const { context, organisation, aggregate, seq, time, actor, command, correlation, events } = commit;
  return events.map((stored, index) => {
    const { type, data } = upcast(kind, commit, stored);
    const { sentence, toPublic } = kind.events[type]!;
    return json({
      context,
      organisation,
      kind: commit.kind,
      id: aggregate,
      seq,
      index,
      version: commit.version - events.length + index + 1,
      type,
      time: new Date(time),
      actor,
      command,
      correlation,
      sentence: sentence(data),
      data: (toPublic === null ? null : toPublic === undefined ? data : toPublic(data)) ?? null,
    });
  });
}

/** Everything that is made of the log, compared with it. @returns what differs */
export async function auditAll(nats: Nats, postgres: Postgres, views: ReadonlyArray<View>): Promise<string[]> {
  const wrong: string[] = [];
  for (const declaration of Object.values(CONTEXTS)) {
    wrong.push(...(await auditFeed(nats, declaration)));
    wrong.push(...(await auditHistory(postgres, declaration, readLog(nats, declaration.name))));
  }
  for (const view of views) wrong.push(...(await auditView(postgres, view, readLog(nats, view.kind.context))));
  return wrong;
}
