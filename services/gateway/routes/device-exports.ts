/** The fleet out and in: what was read of the views becomes files, and what files say becomes what is wanted. */
import { randomBytes } from "node:crypto";
import { Api } from "@millrace/contracts/api.ts";
import type { ExportFormat, ImportDevices } from "@millrace/contracts/devices/exports.ts";
import type { SyncFault } from "@millrace/contracts/devices/syncs.ts";
import { LIMITS, SITE_USUAL } from "@millrace/contracts/devices/values.ts";
import { isId, makeId } from "@millrace/contracts/ids.ts";
import { InvalidInput, Refused } from "@millrace/contracts/problems.ts";
import { type DeviceState, device } from "@millrace/domain/devices/device.ts";
import { macClaim } from "@millrace/domain/devices/device-decide.ts";
import { type Exported, filesOf } from "@millrace/domain/devices/exports.ts";
import { group } from "@millrace/domain/devices/group.ts";
import { fleetFromJson } from "@millrace/domain/devices/model/exports/fleet.ts";
import { aboutInToml } from "@millrace/domain/devices/model/exports/toml.ts";
import { normalMac } from "@millrace/domain/devices/model/identity.ts";
import { profile } from "@millrace/domain/devices/profile.ts";
import {
  type Fleet,
  faultsOfRefusal,
  knownOf,
  type Named,
  type Plan,
  planOf,
  planOfDocuments,
} from "@millrace/domain/devices/sync-documents.ts";
import { deviceGroupsView, deviceProfilesView, devicesView } from "@millrace/domain/devices/views.ts";
import type { Kind } from "@millrace/domain/kind.ts";
import type { View } from "@millrace/domain/view.ts";
import { execute, readClaim } from "@millrace/eventlog/execute.ts";
import * as HttpApiBuilder from "effect/http-api/HttpApiBuilder";
import { forbidden } from "../access.ts";
import { inWords } from "../answers.ts";
import { type Asked, mayAlso, reachOf } from "../asked.ts";
import { contextOf, type Handle, handle, invalidInput, json, type Request } from "../command.ts";
import { fail } from "../failures.ts";
import type { Gateway } from "../gateway.ts";
import { type ListQuery, readPage } from "../queries.ts";

const PAGE = 200;
/** What of a device an export needs: none of its read configuration. */
const FIELDS = "spec,status.identity,status.firmware,status.address,status.reach";

type Import = typeof ImportDevices.Type;
// biome-ignore lint/suspicious/noExplicitAny: as the kind represents it
type Shown = any;

export const deviceExportRoutes = (gateway: Gateway) =>
  HttpApiBuilder.group(Api, "deviceExports", (handlers) =>
    handlers.handle("exportDevices", exportHandler(gateway)).handle("importDevices", importHandler(gateway)),
  );

const exportHandler = <R extends Request>(gateway: Gateway): Handle<R> =>
  handle(gateway, async (request, asked) => {
    const { format, domain, ...where } = request.query as { format: ExportFormat; domain?: string } & ListQuery;
    const reach = reachOf(asked);
    const all = (view: View, query: ListQuery, most: number, isWhole = false) =>
      everything(gateway, request, asked, { view, query, most, ...(isWhole ? {} : { reach }) });
    const { items, position } = await all(devicesView, { ...inWords(where), fields: FIELDS }, LIMITS.exported);
    // Names of groups and profiles are no more than what their devices tell.
    const [groups, profiles] = [
      await all(deviceGroupsView, { fields: "spec.name" }, LIMITS.exported, true),
      await all(deviceProfilesView, { fields: "spec.name" }, LIMITS.exported, true),
    ];
    const named: Named = {
      groups: new Map(groups.items.map(({ id, spec }) => [id, spec.name])),
      profiles: new Map(profiles.items.map(({ id, spec }) => [id, { spec }])),
    };
    const files = filesOf(format, items.map(exportedOf), named, domain);
    return json({ format, devices: items.length, files }, { headers: { "millrace-position": position } });
  });

const exportedOf = ({ spec, status }: Shown): Exported => ({
  ...spec,
  title: spec.title ?? null,
  identity: status.identity ?? null,
  firmware: status.firmware ?? null,
  address: status.address ?? null,
  reach: status.reach,
});

interface Everything {
  readonly view: View;
  readonly query: ListQuery;
  readonly most: number;
  readonly reach?: ReturnType<typeof reachOf>;
}

/** All pages of a list. @throws Failed (refused) where there are more than `most` */
async function everything(
  gateway: Gateway,
  request: Request,
  asked: Asked,
  { view, query, most, ...more }: Everything,
) {
  const items: Shown[] = [];
  let cursor: string | undefined;
  let position = "";
  do {
    const page = await readPage(gateway, view, request, asked.organisation!.id, {
      query: () => ({ ...query, limit: PAGE, sort: "createdAt", ...(cursor === undefined ? {} : { cursor }) }),
      ...more,
    });
    items.push(...page.items);
    position ||= page.position;
    cursor = page.nextCursor;
    if (items.length > most) {
      const reason = `There are more than ${most}.`;
      fail(new Refused({ rule: "too-many", reason, detail: reason, fix: "Export a part of them: by `tag`, `site` …" }));
    }
  } while (cursor !== undefined);
  return { items, position };
}

const importHandler = <R extends Request & { readonly payload: Import }>(gateway: Gateway): Handle<R> =>
  handle(gateway, async (request, asked) => {
    const { payload } = request;
    const fleet = await fleetOf(gateway, asked, payload);
    const plan = planned(payload, fleet, asked);
    const { steps, incoming, same } = plan;
    const isEdit = steps.some(({ step, fields }) => step === "add" || fields.some((field) => EDITED.test(field)));
    if (isEdit && !mayAlso(asked, "devices:edit")) fail(forbidden("devices:edit"));
    if (payload.dryRun === true) return json({ steps, same, applied: 0, refused: [] });
    const refused: SyncFault[] = [];
    for (const one of incoming) refused.push(...(await takeIn(gateway, asked, one)));
    const spoilt = new Set(refused.map(({ file }) => file));
    const applied = incoming.filter(({ file }) => !spoilt.has(file)).length;
    return json({ steps, same, applied, refused });
  });

/** @throws Failed (invalid-input): everything that is wrong */
function planned({ files, fleet: given, site = SITE_USUAL }: Import, fleet: Fleet, asked: Asked): Plan {
  const mayName = (secret: string) => mayAlso(asked, "identity:secrets", secret);
  const options = { site, select: null, mayName };
  const plan =
    given === undefined ? planOf(new Map(Object.entries(files!)), fleet, options) : ofFleet(given, fleet, options);
  if (!("faults" in plan)) return plan;
  const told = plan.faults.slice(0, FAULTS);
  const errors = told.map(({ file, line, place, detail, fix }) => ({
    pointer: `/body/${given === undefined ? `files/${file}` : "fleet"}`.slice(0, 300),
    detail: `${line === undefined ? "" : `line ${line}: `}${place} ${detail}. ${fix}`.slice(0, 500),
  }));
  const more = plan.faults.length - told.length;
  const detail = `${plan.faults.length === 1 ? "One thing is" : `${plan.faults.length} things are`} wrong${more > 0 ? `, the first ${FAULTS} of them here` : ""}. Nothing was taken in.`;
  return fail(new InvalidInput({ detail, errors, fix: "Correct them, and send all of it again." }));
}

const FAULTS = 50;
/** Of a device itself: all but what is wanted of it. */
const EDITED = /^device\/(?!profiles|values)/;

function ofFleet(given: NonNullable<Import["fleet"]>, fleet: Fleet, options: Parameters<typeof planOfDocuments>[2]) {
  const documents = fleetFromJson(JSON.stringify(given), knownOf(fleet.devices));
  if ("faults" in documents) return { faults: documents.faults.map((fault) => ({ file: "fleet", ...fault })) };
  const said = documents.map((document) => ({ file: document.device.mac, document }));
  return planOfDocuments(said, fleet, options);
}

/** The devices that are spoken of, and all groups and profiles that are named, as the log has them. */
async function fleetOf(gateway: Gateway, asked: Asked, { files, fleet }: Import): Promise<Fleet> {
  if ((files === undefined) === (fleet === undefined)) {
    return fail(invalidInput("/body", "takes exactly one of `files` and `fleet`"));
  }
  const texts = Object.values(files ?? {});
  if (texts.length > LIMITS.import) {
    return fail(invalidInput("/body/files", `has ${texts.length} files; at most ${LIMITS.import} at a time`));
  }
  const abouts =
    fleet?.devices.map((one) => (one as Shown)?.device ?? {}) ?? texts.map((text) => aboutInToml(text) ?? {});
  const organisation = asked.organisation!.id;
  const macs = new Set(abouts.map(({ mac }: Shown) => normalMac(mac)).filter((mac) => mac !== undefined));
  const devices: DeviceState[] = [];
  for (const mac of macs) {
    const { holder } = await readClaim(gateway.log, device.context, macClaim(organisation, mac));
    if (holder !== null) devices.push((await gateway.log.aggregates.load(device, holder)).state);
  }
  const names = (what: "groups" | "profiles") => [
    ...abouts.flatMap((about: Shown) => (Array.isArray(about[what]) ? about[what] : [])),
    ...devices.flatMap((state) => state[what]),
  ];
  const profiles = await statesOf(gateway, profile, organisation, names("profiles"));
  const groups = await statesOf(gateway, group, organisation, names("groups"));
  return {
    organisation,
    devices,
    profiles,
    groups: new Map([...groups].map(([id, { spec }]) => [id, spec.name])),
  };
}

/** Those that there are of these ids and names. */
async function statesOf<S extends { readonly organisation: string; readonly exists: boolean }>(
  gateway: Gateway,
  kind: Kind<S>,
  organisation: string,
  references: ReadonlyArray<unknown>,
): Promise<ReadonlyMap<string, S>> {
  const found = new Map<string, S>();
  for (const reference of new Set(references)) {
    if (typeof reference !== "string" || reference.length > 63) continue;
    const claim = kind.nameClaim?.(organisation, reference);
    const held = claim === undefined ? null : (await readClaim(gateway.log, kind.context, claim)).holder;
    const id = isId(kind.prefix, reference) ? reference : held;
    if (id === null) continue;
    const { state } = await gateway.log.aggregates.load(kind, id);
    if (state.exists && state.organisation === organisation) found.set(id, state);
  }
  return found;
}

/** @returns why not, where it was changed by others meanwhile */
async function takeIn(
  gateway: Gateway,
  asked: Asked,
  { id: there, file, commands }: Plan["incoming"][number],
): Promise<ReadonlyArray<SyncFault>> {
  const id = there ?? makeId(device.prefix, Date.now(), randomBytes(10));
  for (const command of commands) {
    const context = contextOf(
      { commandId: `imp_${randomBytes(18).toString("base64url")}`, digest: "" },
      asked.organisation!.id,
      asked,
    );
    const outcome = await execute(gateway.log, { kind: device, id, command }, context);
    if ("refusal" in outcome) return faultsOfRefusal(file, outcome.refusal);
  }
  return [];
}
