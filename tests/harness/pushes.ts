/** What developers push by our API, as often as it takes while publishers come and go: objects, references, commit, publication. */
import assert from "node:assert/strict";
import { eventually } from "./eventually.ts";
import type { callerOf } from "./gateway.ts";
import { BOUNDARY, bodyOfObjects, type Developed, namesOf } from "./publisher.ts";

export interface Asking {
  readonly caller: ReturnType<typeof callerOf>;
}
type Call = Parameters<Asking["caller"]["call"]>;

/** Answered once a publisher is there again. */
export const patiently = (
  { caller }: Asking,
  status: number,
  ...[method, path, options]: Call
): ReturnType<Asking["caller"]["call"]> =>
  eventually(
    async () => {
      const answer = await caller.call(method, path, options);
      if (answer.status === 503) return undefined;
      assert.equal(answer.status, status, `${method} ${path}: ${answer.text}`);
      return answer;
    },
    `${method} ${path} is answered`,
    60_000,
  );

/** Objects of all that is pushed. @returns how many were sent in all */
export async function pushObjects(asking: Asking, number: number, dev: Developed): Promise<number> {
  const names = await namesOf(dev);
  let sent = 0;
  await eventually(
    async () => {
      const { body } = await patiently(asking, 200, "POST", `/builds/${number}/missing-objects`, {
        body: { wanted: names },
      });
      const { missing } = body;
      if (missing.length === 0) return true;
      sent += missing.length;
      const stored = await asking.caller.call("PUT", `/builds/${number}/objects`, {
        body: new Uint8Array(bodyOfObjects(dev, missing)),
        headers: { "content-type": `multipart/mixed; boundary=${BOUNDARY}` },
      });
      if (stored.status === 503) return undefined;
      assert.equal(stored.status, 200, stored.text);
      assert.equal(stored.body.sizes.length, missing.length);
      return true;
    },
    `all objects of build ${number} are there`,
    60_000,
  );
  return sent;
}

export const untilBuild = (
  { caller }: Asking,
  number: number,
  holds: (status: any) => boolean,
  said: () => string = () => "",
  timeoutMs = 90_000,
): Promise<any> =>
  eventually(
    async () => {
      const { body } = await caller.expect(200, "GET", `/builds/${number}`);
      return holds(body.status) ? body : undefined;
    },
    `build ${number} is as wanted: ${said()}`,
    timeoutMs,
  );

function assertWell({ state, published, failure }: any): void {
  assert.ok(state !== "failed" && published !== "failed", JSON.stringify(failure));
}

/** Of a build's status: clients see it. @throws AssertionError where it failed */
export function isLive(status: any): boolean {
  assertWell(status);
  return status.published === "published";
}

function isReady(status: any): boolean {
  assertWell(status);
  return status.state === "ready";
}

export interface Publishing extends Asking {
  readonly repository: string;
  /** What the commit is asked with. */
  readonly terms?: object;
  readonly timeoutMs?: number;
}

/** Waited for at the gateway. */
const comesTo = (
  { caller, timeoutMs = 90_000 }: Publishing,
  number: number,
  wait: string,
  holds: (status: any) => boolean,
): Promise<any> =>
  eventually(
    async () => {
      const { body } = await caller.expect(
        200,
        "GET",
        `/builds/${number}?wait=${encodeURIComponent(wait)}&timeout=30000`,
      );
      return holds(body.status) ? body : undefined;
    },
    `build ${number} comes to ${wait}`,
    timeoutMs,
  );

/** From the first byte until it can be published. @returns its number */
export async function commitDeveloped(asking: Publishing, ...devs: readonly Developed[]): Promise<number> {
  const { repository, terms = {} } = asking;
  const { body } = await patiently(asking, 201, "POST", "/builds", { body: { repository } });
  const { number } = body.status;
  for (const dev of devs) await pushObjects(asking, number, dev);
  const refs = devs.map(({ ref, commit }) => ({ ref, commit }));
  await patiently(asking, 200, "POST", `/builds/${number}/refs`, { body: { refs } });
  await patiently(asking, 202, "POST", `/builds/${number}/commit`, { body: terms });
  await comesTo(asking, number, "state=ready|failed", isReady);
  return number;
}

/** From the first byte until clients see it. @returns the build as it is then */
export async function publishDeveloped(asking: Publishing, ...devs: readonly Developed[]): Promise<any> {
  const number = await commitDeveloped(asking, ...devs);
  await patiently(asking, 202, "POST", `/builds/${number}/publish`, { body: {} });
  return comesTo(asking, number, "terminal", isLive);
}

/** @returns what came of it */
export async function prune(
  { caller: { expect } }: Asking,
  repository: string,
): Promise<{ quarantined: number; deleted: number }> {
  const shown = async () => (await expect(200, "GET", `/repositories/${repository}`)).body.status;
  const { pruned: before } = await shown();
  await expect(202, "POST", `/repositories/${repository}/prune`, { body: {} });
  return eventually(
    async () => {
      const { pruned, pruning } = await shown();
      return pruning === true || pruned?.at === before?.at ? undefined : pruned;
    },
    "it is pruned",
    60_000,
  );
}
