/**
 * People and programs at work, through the gateway: writers with Idempotency-Keys that repeat what was not answered, and a
 * reader that must see what was acknowledged. Everything that no client may ever be told is noted in `wrong`.
 */
import { randomUUID } from "node:crypto";
import { decodePosition } from "@millrace/contracts/position.ts";
import type { StoredCommit } from "@millrace/eventlog/commit.ts";
import { pause } from "./house.ts";

export interface Acknowledged {
  readonly request: Request;
  /** Id of the work item. */
  readonly id: string;
  /** Sequence on the log, as its position said. */
  readonly seq: number;
  /** As it was answered. */
  readonly position: string;
  /** Type of the event it must have made, and a word that stands in no other one; "" for a move. */
  readonly type: string;
  readonly mark: string;
}

interface Request {
  readonly method: string;
  readonly path: string;
  readonly key: string;
  readonly ifMatch?: string;
  readonly body: unknown;
}

export interface LoadOptions {
  /** Gateways: after a failure the next one is asked. */
  readonly urls: ReadonlyArray<string>;
  readonly token: string;
  readonly writers: number;
  /** Work items that all writers comment on. */
  readonly shared?: number;
  /** Share of commands that are given up when the first try is not answered. */
  readonly giveUp?: number;
  /** Between two commands of one writer. */
  readonly pauseMs?: number;
}

/** How long one command is repeated before that is wrong, too. */
const PURSUED_MS = 120_000;
const SHARED_COMMENTS = 300;
const HOME = "/v1/organisations/home";

export class Load {
  readonly acknowledged: Acknowledged[] = [];
  /** Marks of commands whose outcome nobody was told: each may be there once. */
  readonly givenUp = new Set<string>();
  readonly wrong: string[] = [];
  readonly counts = {
    requests: 0,
    broken: 0,
    unavailable: 0,
    conflicts: 0,
    replayed: 0,
    reads: 0,
    readsUnavailable: 0,
  };
  readonly #options: LoadOptions;
  readonly #shared: string[] = [];
  #said = 0;
  #running = true;
  #work: Promise<unknown> = Promise.resolve();
  #newest: Acknowledged | undefined;

  constructor(options: LoadOptions) {
    this.#options = options;
  }

  /** Begins, and resolves when the shared work items are there. */
  async start(): Promise<void> {
    for (let i = 0; i < (this.#options.shared ?? 2); i++) {
      const opened = await this.#carryOut(this.#open(), false);
      if (opened !== undefined) this.#shared.push(opened.id);
    }
    const writers = Array.from({ length: this.#options.writers }, (_, w) => this.#write(w));
    this.#work = Promise.all([...writers, this.#read()]);
  }

  /** Begins nothing more, and resolves when everything under way was answered. */
  async stop(): Promise<void> {
    this.#running = false;
    await this.#work;
  }

  async #write(writer: number): Promise<void> {
    let id: string | undefined;
    let etag = "";
    let state = "todo";
    for (let n = writer; this.#running; n++) {
      await pause(this.#options.pauseMs ?? 0);
      const givesUp = Math.random() < (this.#options.giveUp ?? 0);
      if (id === undefined || n % 29 === 0) {
        const opened = await this.#carryOut(this.#open(), givesUp);
        id = opened?.id;
        etag = opened?.etag ?? "";
        state = "todo";
        continue;
      }
      if (n % 5 === 1 && this.#shared.length > 0) {
        await this.#discuss(n, givesUp);
        continue;
      }
      const to = state === "todo" ? "in-progress" : "todo";
      const plan =
        n % 5 === 2
          ? this.#change(id, etag)
          : n % 5 === 3
            ? this.#move(id, to)
            : n % 5 === 4
              ? this.#label(id)
              : this.#comment(id);
      const answer = await this.#carryOut(plan, givesUp);
      // Nobody knows now what it looks like: another one is opened.
      if (answer === undefined) id = undefined;
      else {
        etag = answer.etag;
        if (plan.type === "ItemMoved") state = to;
      }
    }
  }

  /** On what others write to at the same time; before its thread is full another one takes its place. */
  async #discuss(n: number, givesUp: boolean): Promise<void> {
    const place = n % this.#shared.length;
    await this.#carryOut(this.#comment(this.#shared[place]!), givesUp);
    if (++this.#said % SHARED_COMMENTS !== 0) return;
    // Now, because others go on counting while it is opened.
    const full = (this.#said / SHARED_COMMENTS) % this.#shared.length;
    const opened = await this.#carryOut(this.#open(), false);
    if (opened !== undefined) this.#shared[full] = opened.id;
  }

  #open(): Plan {
    const mark = newMark();
    return {
      type: "ItemOpened",
      mark,
      method: "POST",
      path: "/work-items",
      body: { type: "task", title: `Work ${mark}`, labels: [mark] },
    };
  }

  #comment(id: string): Plan {
    const mark = newMark();
    return {
      type: "ItemCommented",
      mark,
      id,
      method: "POST",
      path: `/work-items/${id}/comments`,
      body: { text: `said ${mark}` },
    };
  }

  #change(id: string, etag: string): Plan {
    const mark = newMark();
    return {
      type: "ItemDescribed",
      mark,
      id,
      ifMatch: etag,
      method: "PATCH",
      path: `/work-items/${id}`,
      body: { description: `as of ${mark}` },
    };
  }

  #label(id: string): Plan {
    const mark = newMark();
    return {
      type: "ItemLabelled",
      mark,
      id,
      method: "POST",
      path: `/work-items/${id}/label`,
      body: { labels: [mark] },
    };
  }

  #move(id: string, to: string): Plan {
    return { type: "ItemMoved", mark: "", id, method: "POST", path: `/work-items/${id}/transition`, body: { to } };
  }

  /** @returns undefined when it was given up, or was wrong */
  async #carryOut(plan: Plan, givesUp: boolean): Promise<{ id: string; etag: string } | undefined> {
    const { type, mark, id, method, path, body, ifMatch } = plan;
    const request: Request = { method, path, body, key: randomUUID(), ...(ifMatch === undefined ? {} : { ifMatch }) };
    const said = `${method} ${path} ${JSON.stringify(body)}`;
    const began = Date.now();
    for (let attempt = 0; ; attempt++) {
      if (Date.now() - began > PURSUED_MS) return this.#isWrong(`${said}: not answered within ${PURSUED_MS} ms`);
      const answer = await this.#send(request, attempt);
      if (answer === undefined || answer.status === 503 || answer.status === 409) {
        if (givesUp) {
          if (mark !== "") this.givenUp.add(mark);
          return undefined;
        }
        await pause(50 + Math.random() * 250);
        continue;
      }
      if (answer.status !== 200 && answer.status !== 201)
        return this.#isWrong(`${said}: ${answer.status} ${answer.text}`);
      if (answer.headers.has("idempotent-replayed")) {
        this.counts.replayed++;
        if (attempt === 0) return this.#isWrong(`${said}: the first try is called a repeat`);
      }
      const position = answer.headers.get("millrace-position") ?? "";
      const seq = decodePosition(position)?.work?.seq;
      const entity = JSON.parse(answer.text) as { id: string };
      if (seq === undefined) return this.#isWrong(`${said}: answered without a position`);
      if (id !== undefined && entity.id !== id) return this.#isWrong(`${said}: answered with ${entity.id}`);
      this.#newest = { request, id: entity.id, seq, position, type, mark };
      this.acknowledged.push(this.#newest);
      return { id: entity.id, etag: answer.headers.get("etag") ?? "" };
    }
  }

  #isWrong(what: string): undefined {
    this.wrong.push(what);
    return undefined;
  }

  /** @returns undefined when the connection broke */
  async #send(request: Request, attempt = 0): Promise<{ status: number; headers: Headers; text: string } | undefined> {
    const { urls, token } = this.#options;
    this.counts.requests++;
    try {
      const response = await fetch(`${urls[attempt % urls.length]}${HOME}${request.path}`, {
        method: request.method,
        headers: {
          authorization: `Bearer ${token}`,
          "content-type": "application/json",
          "idempotency-key": request.key,
          ...(request.ifMatch === undefined ? {} : { "if-match": request.ifMatch }),
        },
        body: JSON.stringify(request.body),
        signal: AbortSignal.timeout(20_000),
      });
      const text = await response.text();
      if (response.status === 503) this.#unavailable(`${request.method} ${request.path}`, response, text);
      if (response.status === 409) this.counts.conflicts++;
      return { status: response.status, headers: response.headers, text };
    } catch {
      this.counts.broken++;
      return undefined;
    }
  }

  #unavailable(said: string, { headers }: Response, text: string): void {
    this.counts.unavailable++;
    const { what } = JSON.parse(text) as { what?: string };
    if (!what || !(Number(headers.get("retry-after")) > 0))
      this.wrong.push(`${said}: 503 without what or Retry-After: ${text}`);
  }

  /** What was acknowledged is found in the list by who brings its position, or 503 is answered. */
  async #read(): Promise<void> {
    const { urls, token } = this.#options;
    for (let n = 0; this.#running; n++) {
      await pause(20);
      const seen = this.#newest;
      if (seen === undefined || (seen.type !== "ItemOpened" && seen.type !== "ItemLabelled")) continue;
      try {
        const response = await fetch(`${urls[n % urls.length]}${HOME}/work-items?label=${seen.mark}`, {
          headers: { authorization: `Bearer ${token}`, "millrace-position": seen.position },
          signal: AbortSignal.timeout(20_000),
        });
        const text = await response.text();
        if (response.status === 503) {
          this.counts.readsUnavailable++;
          this.#unavailable("GET /work-items", response, text);
        } else if (response.status !== 200) this.wrong.push(`GET /work-items: ${response.status} ${text}`);
        else {
          this.counts.reads++;
          const { items } = JSON.parse(text) as { items: { id: string }[] };
          if (items.length !== 1 || items[0]!.id !== seen.id) {
            this.wrong.push(`GET /work-items?label=${seen.mark} at ${seen.seq}: ${items.length} found, not ${seen.id}`);
          }
        }
      } catch {
        // The gateway is away.
      }
    }
  }

  /** Sends acknowledged commands again. @returns those that were not answered as the first time */
  async repeatSome(most: number, commits: ReadonlyArray<StoredCommit> = []): Promise<string[]> {
    const wrong: string[] = [];
    const step = Math.max(1, Math.floor(this.acknowledged.length / most));
    for (let i = 0; i < this.acknowledged.length; i += step) {
      const { request, position, id, seq } = this.acknowledged[i]!;
      let answer = await this.#send(request);
      // One of several gateways may be away for good.
      for (let attempt = 1; answer === undefined && attempt < this.#options.urls.length; attempt++) {
        answer = await this.#send(request, attempt);
      }
      const own = commits.filter(({ aggregate }) => aggregate === id);
      const first = own.find((commit) => commit.seq === seq);
      const said = `${request.method} ${request.path} again (key ${request.key}, ${first?.command} of ${first?.at} at ${seq}, one of ${own.length} commits)`;
      if (answer === undefined || answer.status >= 300) wrong.push(`${said}: ${answer?.status} ${answer?.text}`);
      else if (!answer.headers.has("idempotent-replayed")) wrong.push(`${said}: was carried out again`);
      else if (answer.headers.get("millrace-position") !== position) wrong.push(`${said}: another position`);
      else if ((JSON.parse(answer.text) as { id: string }).id !== id) wrong.push(`${said}: another id`);
    }
    return wrong;
  }

  /** What was acknowledged and is not in the log where its answer said, and what is there more than once. */
  compare(commits: ReadonlyArray<StoredCommit>): { readonly lost: string[]; readonly twice: string[] } {
    const lost: string[] = [];
    const twice: string[] = [];
    const bySeq = new Map(commits.map((commit) => [commit.seq, commit]));
    for (const { id, seq, type, mark, request } of this.acknowledged) {
      const commit = bySeq.get(seq);
      const isThere =
        commit?.aggregate === id &&
        commit.events.some((event) => event.type === type && JSON.stringify(event.data).includes(mark));
      if (!isThere) lost.push(`${type} ${mark} of ${id} (key ${request.key}) is not at ${seq}`);
    }
    const commands = new Set<string>();
    const marks = new Map<string, number>();
    for (const { command, aggregate, kind, seq, events } of commits) {
      const name = `${command} ${kind} ${aggregate}`;
      if (commands.has(name)) twice.push(`command ${name} again at ${seq}`);
      commands.add(name);
      for (const { data } of events) {
        for (const [mark] of JSON.stringify(data).matchAll(/mk-[0-9a-f]{32}/g)) marks.set(`${seq} ${mark}`, 1);
      }
    }
    const seen = new Map<string, number>();
    for (const place of marks.keys()) {
      const mark = place.split(" ")[1]!;
      seen.set(mark, (seen.get(mark) ?? 0) + 1);
    }
    const known = new Set([...this.acknowledged.map(({ mark }) => mark), ...this.givenUp]);
    for (const [mark, times] of seen) {
      if (times > 1) twice.push(`${mark} in ${times} commits`);
      if (!known.has(mark)) twice.push(`${mark} is in the log, and nobody was told`);
    }
    return { lost, twice };
  }
}

interface Plan {
  readonly type: string;
  readonly mark: string;
  readonly id?: string;
  readonly method: string;
  readonly path: string;
  readonly ifMatch?: string;
  readonly body: unknown;
}

/** Fits a label, and stands nowhere else. */
const newMark = (): string => `mk-${randomUUID().replaceAll("-", "")}`;
