/** Operations on many devices: in bulk, in stages; and scans. */

import { randomBytes } from "node:crypto";
import { Api } from "@millrace/contracts/api.ts";
import { bulkPermissions } from "@millrace/contracts/automation/actions.ts";
import type { BulkAction as BulkActionSchema, RESULTS } from "@millrace/contracts/devices/operations.ts";
import type { Select, Selection } from "@millrace/contracts/devices/selection.ts";
import type { Asked as TaskAsked } from "@millrace/contracts/devices/task-parts.ts";
import { LIMITS } from "@millrace/contracts/devices/values.ts";
import { NAMED } from "@millrace/contracts/devices/wishes.ts";
import { LIMITS as LISTS } from "@millrace/contracts/http.ts";
import { isId, makeId } from "@millrace/contracts/ids.ts";
import { type BulkSpec, bulk, resultAt } from "@millrace/domain/devices/bulk.ts";
import { device } from "@millrace/domain/devices/device.ts";
import { macClaim } from "@millrace/domain/devices/device-decide.ts";
import { group } from "@millrace/domain/devices/group.ts";
import { HALT_AT_PERCENT, rolloutOf, scanOf } from "@millrace/domain/devices/request-many.ts";
import { rollout } from "@millrace/domain/devices/rollout.ts";
import { inputOf, plainNameOf, scan } from "@millrace/domain/devices/scan.ts";
import { bulksView, devicesView, rolloutsView, scansView } from "@millrace/domain/devices/views.ts";
import { execute, readClaim } from "@millrace/eventlog/execute.ts";
import * as HttpApiBuilder from "effect/http-api/HttpApiBuilder";
import { forbidden } from "../access.ts";
import { inWords } from "../answers.ts";
import { type Asked, mayAlso } from "../asked.ts";
import { commands, contextOf, type Handle, handle, invalidInput, json, type Request } from "../command.ts";
import { fail } from "../failures.ts";
import { type Gateway, loadOwn } from "../gateway.ts";
import { history } from "../history.ts";
import { past } from "../past.ts";
import { decodeCursor, encodeCursor, type ListQuery, list, readPage } from "../queries.ts";
import { idsOf, mayNameSecrets } from "./device-desired.ts";

type BulkAction = typeof BulkActionSchema.Type;
interface ResultsQuery {
  readonly outcome?: (typeof RESULTS)[number];
  readonly limit?: number;
  readonly cursor?: string;
}

/** Ids of all that a list finds by these fields, as it is now. @throws Failed (invalid-input, unavailable) */
async function found(gateway: Gateway, request: Request, asked: Asked, where: ListQuery): Promise<string[]> {
  const ids: string[] = [];
  let cursor: string | undefined;
  do {
    const page = await readPage(gateway, devicesView, request, asked.organisation!.id, {
      query: () => inWords({ ...where, limit: LIMITS_PAGE, fields: "id", ...(cursor === undefined ? {} : { cursor }) }),
    });
    ids.push(...page.items.map((item) => (item as { id: string }).id));
    cursor = page.nextCursor;
  } while (cursor !== undefined && ids.length <= LIMITS.selected);
  return ids;
}

const LIMITS_PAGE = 200;

/** A selection as the list's query. */
async function queryOf(gateway: Gateway, asked: Asked, { profile, ...where }: Selection): Promise<ListQuery> {
  const texts = Object.fromEntries(Object.entries(where).map(([name, value]) => [name, `${value}`]));
  if (profile === undefined) return texts;
  const [id] = await idsOf(gateway, asked, "profile", [profile], "/body/select/where/profile");
  return { ...texts, profile: id };
}

/** Ids of what is selected, as it is now. @throws Failed */
async function selected(gateway: Gateway, request: Request, asked: Asked, select: Select): Promise<string[]> {
  const { ids, group: named, where } = select;
  if ([ids, named, where].filter((one) => one !== undefined).length !== 1) {
    return fail(invalidInput("/body/select", "takes exactly one of `ids`, `group` and `where`"));
  }
  if (ids !== undefined) {
    const chosen = await Promise.all(
      ids.map((id) => (isId(device.prefix, id) ? id : loadOwn(gateway, device, asked, id).then((loaded) => loaded.id))),
    );
    return [...new Set(chosen)];
  }
  if (where !== undefined) return found(gateway, request, asked, await queryOf(gateway, asked, where));
  const { id, state } = await loadOwn(gateway, group, asked, named!);
  const { selection } = state.spec;
  return found(gateway, request, asked, selection === null ? { group: id } : await queryOf(gateway, asked, selection));
}

/** @throws Failed (forbidden) where doing it to one device takes another permission than this operation's */
function mayDo(asked: Asked, action: BulkAction): void {
  for (const needed of bulkPermissions(action)) if (!mayAlso(asked, needed)) fail(forbidden(needed));
}

/** A wish by ids. @throws Failed (invalid-input; forbidden where it names secrets that the caller may not name) */
async function wishOf(gateway: Gateway, asked: Asked, action: Extract<BulkAction, { kind: "configure" }>) {
  mayNameSecrets(asked, action.configuration ?? {}, {});
  const named: Record<string, ReadonlyArray<string>> = {};
  for (const what of ["profile", "group"] as const) {
    for (const field of NAMED[what]) {
      const references = action[field];
      if (references === undefined) continue;
      named[field] = await idsOf(gateway, asked, what, references, `/body/action/${field}`);
    }
  }
  return { dryRun: false, ...action, ...named };
}

const askedBy = async (gateway: Gateway, asked: Asked, action: BulkAction): Promise<BulkSpec["asked"]> =>
  action.kind === "configure"
    ? wishOf(gateway, asked, action)
    : ((action.kind === "apply" ? { dryRun: false, ...action } : action) as TaskAsked);

/** Device by device, in the order in which they are asked. */
const resultsHandler = <R extends Request & { readonly query: ResultsQuery }>(gateway: Gateway): Handle<R> =>
  handle(gateway, async (request, asked) => {
    const { state } = await loadOwn(gateway, bulk, asked, (request.params as { id: string }).id);
    const { limit = LISTS.listDefault, cursor, outcome } = request.query;
    const from =
      cursor === undefined ? 0 : decodeCursor<{ at: number }>(cursor, (mark) => Number.isSafeInteger(mark.at)).at;
    const failures = new Map(state.failures.map((failure) => [failure.device, failure]));
    const items: object[] = [];
    let at = from;
    const { devices } = state.spec!;
    for (; at < devices.length && items.length < limit; at++) {
      const found = resultAt(state, at);
      if (outcome !== undefined && outcome !== found) continue;
      const id = devices[at]!;
      const { task = state.running[id], reason } = failures.get(id) ?? {};
      const more = { ...(task === undefined ? {} : { task }), ...(reason === undefined ? {} : { reason }) };
      items.push({ device: id, outcome: found, ...more });
    }
    return json({ items, ...(at < devices.length ? { nextCursor: encodeCursor({ at }) } : {}) });
  });

const listedScan = ({ status: { findings, ...status }, ...entity }: any): unknown => ({
  ...entity,
  status: { ...status, found: findings.length },
});

export const deviceOperationRoutes = (gateway: Gateway) =>
  HttpApiBuilder.group(Api, "deviceOperations", (handlers) => {
    const bulks = commands(gateway, bulk);
    const rollouts = commands(gateway, rollout);
    const before = { bulk: past(gateway, bulk), rollout: past(gateway, rollout) };
    const steer = <D extends "pause" | "resume" | "cancel">(verb: D) => ({
      bulk: bulks.act(() => ({ do: verb }), { status: 202 }),
      rollout: rollouts.act(() => ({ do: verb }), { status: 202 }),
    });
    const [pause, resume, cancel] = [steer("pause"), steer("resume"), steer("cancel")];
    return handlers
      .handle(
        "startBulk",
        bulks.create(
          async (request, asked) => {
            const { select, action, ...options } = request.payload;
            mayDo(asked, action);
            const chosen = await askedBy(gateway, asked, action);
            const devices = await selected(gateway, request, asked, select);
            const { atOnce = LIMITS.atOnce.usual, haltAtPercent = HALT_AT_PERCENT } = options;
            const { expiresInMs = LIMITS.expires.usual } = options;
            return { do: "request", asked: chosen, devices, atOnce, haltAtPercent, expiresInMs };
          },
          { status: 202 },
        ),
      )
      .handle("listBulks", list(gateway, bulksView, { query: inWords }))
      .handle("getBulk", before.bulk.get())
      .handle("listBulkResults", resultsHandler(gateway))
      .handle("historyOfBulk", history(gateway, bulk))
      .handle("pauseBulk", pause.bulk)
      .handle("resumeBulk", resume.bulk)
      .handle("cancelBulk", cancel.bulk)
      .handle(
        "startRollout",
        rollouts.create(
          async (request, asked) => {
            const devices = await selected(gateway, request, asked, request.payload.select);
            return { do: "start", ...rolloutOf(request.payload, { devices }) };
          },
          { status: 202 },
        ),
      )
      .handle("listRollouts", list(gateway, rolloutsView, { query: inWords }))
      .handle("getRollout", before.rollout.get())
      .handle("historyOfRollout", history(gateway, rollout))
      .handle("pauseRollout", pause.rollout)
      .handle("resumeRollout", resume.rollout)
      .handle("cancelRollout", cancel.rollout);
  });

export const deviceScanRoutes = (gateway: Gateway) =>
  HttpApiBuilder.group(Api, "deviceScans", (handlers) => {
    const scans = commands(gateway, scan);
    const before = past(gateway, scan);
    return handlers
      .handle(
        "startScan",
        scans.create(({ payload }) => ({ do: "request", spec: scanOf(payload) }), { status: 202 }),
      )
      .handle("listScans", list(gateway, scansView, { query: inWords, show: listedScan }))
      .handle("getScan", before.get())
      .handle(
        "cancelScan",
        scans.act(() => ({ do: "cancel" }), { status: 202 }),
      )
      .handle("importFindings", importHandler(gateway))
      .handle("historyOfScan", history(gateway, scan));
  });

/** Takes findings in one by one: a MAC is claimed once, so doing it again adds what is missing. */
const importHandler = <
  R extends Request & {
    readonly payload: { readonly macs?: ReadonlyArray<string>; readonly tags?: ReadonlyArray<string> };
  },
>(
  gateway: Gateway,
): Handle<R> =>
  handle(gateway, async (request, asked) => {
    const { state } = await loadOwn(gateway, scan, asked, (request.params as { id: string }).id);
    const organisation = asked.organisation!.id;
    const { macs = Object.keys(state.findings).slice(0, LIMITS.import), tags } = request.payload;
    const items: object[] = [];
    for (const mac of macs) {
      const finding = state.findings[mac];
      if (finding === undefined) {
        items.push({ mac, outcome: "refused", reason: "It was not found by this scan." });
        continue;
      }
      const { holder } = await readClaim(gateway.log, device.context, macClaim(organisation, mac));
      if (holder !== null) {
        items.push({ mac, device: holder, outcome: "known" });
        continue;
      }
      const id = makeId(device.prefix, Date.now(), randomBytes(10));
      const spec = inputOf(state, finding, tags);
      const add = (name: string) => {
        const entropy = randomBytes(18).toString("base64url");
        const context = contextOf({ commandId: `imp_${entropy}`, digest: "" }, organisation, asked);
        const change = { kind: device, id, command: { do: "add" as const, spec: { ...spec, name } } };
        return execute(gateway.log, change, context);
      };
      let outcome = await add(spec.name);
      // Somebody else may have its name.
      if ("refusal" in outcome && outcome.refusal.refused === "conflict") outcome = await add(plainNameOf(mac));
      const refusal = "refusal" in outcome ? outcome.refusal : undefined;
      const reason =
        refusal !== undefined && "reason" in refusal ? refusal.reason : "It tells of itself what cannot be kept.";
      items.push(refusal === undefined ? { mac, device: id, outcome: "added" } : { mac, outcome: "refused", reason });
    }
    return json({ items });
  });
