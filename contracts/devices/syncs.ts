/** Configuration of devices as TOML in a Git repository: out, in, or both. Entities, events, endpoints. */
import * as HttpApiEndpoint from "effect/http-api/HttpApiEndpoint";
import * as HttpApiGroup from "effect/http-api/HttpApiGroup";
import * as HttpApiSchema from "effect/http-api/HttpApiSchema";
import * as OpenApi from "effect/http-api/OpenApi";
import * as Schema from "effect/Schema";
import { Credentials } from "../applications/entities.ts";
import { RepositoryPath, RepositoryUrl, ServerPath } from "../applications/values.ts";
import type { PublicEvents } from "../events.ts";
import {
  accepted,
  changeHeaders,
  commandHeaders,
  created,
  entity,
  entityParams,
  listQuery,
  ORGANISATION,
  organisationParams,
  page,
  queryHeaders,
  readQuery,
  says,
  Time,
  textFilter,
} from "../http.ts";
import { historyOf } from "../past.ts";
import { Selection, SelectionShown } from "./selection.ts";
import { Name, Site, SyncId, Title } from "./values.ts";

const { optionalKey } = Schema;
const text = (description: string) => Schema.String.annotate({ description });
const count = (description: string) => Schema.Int.annotate({ description });

export const SYNC_STATES = ["new", "running", "waiting", "succeeded", "failed"] as const;
export const DIRECTIONS = ["out", "in", "both"] as const;
export const SYNC_LIMITS = {
  /** TOML files in the folder, and bytes of all of them. */
  files: 5_000,
  bytes: 32 * 1024 * 1024,
  /** Bytes that one fetch may bring. */
  fetchBytes: 256 * 1024 * 1024,
  /** Steps of a plan, fields of a step, and faults, that are told; more are counted. */
  steps: 200,
  fields: 20,
  faults: 50,
  /** Begun attempts of one run before it is given up. */
  attempts: 5,
} as const;

const COMMIT = /^([0-9a-f]{40}|[0-9a-f]{64})$/u;
const Commit = Schema.String.check(Schema.isPattern(COMMIT)).annotate({ description: "A commit, whole" });

const asked = {
  repository: Schema.Union([Schema.Struct({ url: RepositoryUrl }), Schema.Struct({ path: ServerPath })]).annotate({
    description: "Over the network; or a path on the agent's machine, below a folder of MILLRACE_LOCAL_SOURCES",
  }),
  credentials: Credentials,
  branch: Schema.String.check(Schema.isPattern(/^[A-Za-z0-9][A-Za-z0-9._/-]{0,199}$/u)).annotate({
    description: "Made with the first commit where it is not there",
  }),
  folder: RepositoryPath.annotate({ description: "Where the files stand; `.`: the repository's root" }),
  select: Selection,
  direction: Schema.Literals(DIRECTIONS).annotate({
    description: "`out`: files are written; `in`: files say what is wanted; `both`: first in, then out",
  }),
  apply: Schema.Literals(["plan", "apply"]).annotate({
    description: "What comes in waits for approval (`plan`), or is wanted at once (`apply`)",
  }),
};
export const SyncSpec = Schema.Struct({
  name: Name,
  title: optionalKey(Title),
  repository: asked.repository,
  credentials: optionalKey(asked.credentials),
  branch: asked.branch,
  folder: asked.folder,
  site: Site,
  select: optionalKey(asked.select),
  direction: asked.direction,
  apply: asked.apply,
}).annotate({ identifier: "DeviceSyncSpec" });

const step = {
  mac: text("The device's MAC"),
  name: text("Its name, as the file says or as it is"),
  file: optionalKey(text("File, from the repository's root")),
  step: Schema.Literals(["add", "change", "gone"]).annotate({
    description: "`gone`: it is here and not in the files; nothing is done about it",
  }),
  fields: Schema.Array(Schema.String).annotate({ description: "What changes: `switch:0/in_mode`, `device/name`" }),
};
export const SyncStep = Schema.Struct(step).annotate({ identifier: "DeviceSyncStep" });
export const SyncFault = Schema.Struct({
  file: text("File, from the repository's root"),
  line: optionalKey(count("From 1")),
  place: text("Path in the file: `switch:0.in_mode`"),
  detail: Schema.String,
  fix: Schema.String,
}).annotate({ identifier: "DeviceSyncFault" });
export type SyncStep = typeof SyncStep.Type;
export type SyncFault = typeof SyncFault.Type;

const run = count("Counts the runs");
const commit = text("The commit");
const result = {
  run,
  commit: optionalKey(text("The branch's commit after it; left out: it has none")),
  pushed: Schema.Boolean.annotate({ description: "A commit was made" }),
  written: count("Files that were written"),
  removed: count("Files that were removed"),
  applied: count("Devices that were changed or added"),
  same: count("Devices that are as their files say"),
};
const planned = {
  run,
  commit: text("The commit that it is the plan of"),
  steps: Schema.Array(SyncStep),
  more: count("Further steps that are not told"),
};
const failure = {
  run,
  code: Schema.String,
  message: Schema.String,
  fix: Schema.String,
  faults: Schema.Array(SyncFault),
  more: count("Further faults that are not told"),
};

export const Sync = entity(
  SyncId,
  SyncSpec,
  Schema.Struct({
    state: Schema.Literals(SYNC_STATES),
    run,
    commit: optionalKey(text("The branch's commit after the last run that succeeded")),
    result: optionalKey(Schema.Struct({ ...result, finishedAt: Time })),
    plan: optionalKey(Schema.Struct(planned)),
    failure: optionalKey(Schema.Struct({ ...failure, failedAt: Time })),
  }),
).annotate({ identifier: "DeviceSync" });
export const ListedSync = Schema.Struct({
  ...Sync.fields,
  status: Schema.Struct((({ plan: _, failure: __, ...listed }) => listed)(Sync.fields.status.fields)),
}).annotate({ identifier: "ListedDeviceSync", description: "Without its plan and its faults" });

const shown = {
  name: text("Unique name in the organisation"),
  title: text("Its title"),
  repository: Schema.Record(Schema.String, Schema.String),
  credentials: Schema.Struct({ secret: Schema.String, kind: Schema.String, user: optionalKey(Schema.String) }),
  branch: Schema.String,
  folder: Schema.String,
  site: Schema.String,
  select: SelectionShown,
  direction: asked.direction,
  apply: asked.apply,
};
export const SyncCreated = Schema.Struct({
  ...shown,
  title: optionalKey(shown.title),
  credentials: optionalKey(shown.credentials),
  select: optionalKey(shown.select),
});
export const SyncChanged = Schema.Struct({
  name: optionalKey(shown.name),
  title: optionalKey(Schema.NullOr(shown.title)),
  repository: optionalKey(shown.repository),
  credentials: optionalKey(Schema.NullOr(shown.credentials)),
  branch: optionalKey(shown.branch),
  folder: optionalKey(shown.folder),
  site: optionalKey(shown.site),
  select: optionalKey(Schema.NullOr(shown.select)),
  direction: optionalKey(shown.direction),
  apply: optionalKey(shown.apply),
});
export const SyncDeleted = Schema.Struct({ name: Schema.String });
export const SyncRequested = Schema.Struct({ run, approved: optionalKey(commit) });
export const SyncStarted = Schema.Struct({ run, attempt: Schema.Int, worker: Schema.String });
export const SyncPlanned = Schema.Struct(planned);
export const SyncCompleted = Schema.Struct(result);
export const SyncFailed = Schema.Struct(failure);
export const syncEvents = {
  SyncCreated: { version: 1, data: SyncCreated, description: "Configuration is to be kept in a Git repository." },
  SyncChanged: { version: 1, data: SyncChanged, description: "How configuration is kept in Git was changed." },
  SyncDeleted: { version: 1, data: SyncDeleted, description: "Configuration is kept in that repository no more." },
  SyncRequested: { version: 1, data: SyncRequested, description: "A run was asked for, or a plan approved." },
  SyncStarted: { version: 1, data: SyncStarted, description: "An agent began a run." },
  SyncPlanned: { version: 1, data: SyncPlanned, description: "What came in waits for approval." },
  SyncCompleted: { version: 1, data: SyncCompleted, description: "Repository and fleet say the same." },
  SyncFailed: { version: 1, data: SyncFailed, description: "A run has failed." },
} as const satisfies PublicEvents;

export const CreateSync = Schema.Struct({
  ...SyncSpec.fields,
  branch: optionalKey(asked.branch),
  folder: optionalKey(asked.folder),
  site: optionalKey(Site),
  direction: optionalKey(asked.direction),
  apply: optionalKey(asked.apply),
}).annotate({
  identifier: "CreateDeviceSync",
  description: "Left out: the branch `main`, the folder `devices`, the site `home`, all devices, `out`, `plan`",
  examples: [{ name: "fleet", repository: { url: "https://git.example.org/home/fleet.git" }, direction: "both" }],
});
export const ChangeSync = Schema.Struct({
  name: optionalKey(Name),
  title: optionalKey(Schema.NullOr(Title)),
  repository: optionalKey(asked.repository),
  credentials: optionalKey(Schema.NullOr(asked.credentials)),
  branch: optionalKey(asked.branch),
  folder: optionalKey(asked.folder),
  site: optionalKey(Site),
  select: optionalKey(Schema.NullOr(asked.select)),
  direction: optionalKey(asked.direction),
  apply: optionalKey(asked.apply),
}).annotate({ identifier: "ChangeDeviceSync", description: "What is left out stays; `null` takes it off" });
export const ApproveSync = Schema.Struct({ commit: Commit }).annotate({
  identifier: "ApproveDeviceSync",
  description: "The commit of the plan that was looked at: another plan is refused",
});

const syncs = `${ORGANISATION}/device-syncs` as const;
const sync = `${syncs}/:id` as const;
const acting = { params: entityParams, headers: commandHeaders, success: accepted(Sync) };

export const deviceSyncsApi = HttpApiGroup.make("deviceSyncs")
  .add(
    HttpApiEndpoint.post("createSync", syncs, {
      params: organisationParams,
      headers: commandHeaders,
      payload: CreateSync,
      success: created(Sync),
    }).annotateMerge(says("devices:configure", "Keep configurations of devices in a Git repository")),
  )
  .add(
    HttpApiEndpoint.get("listSyncs", syncs, {
      params: organisationParams,
      headers: queryHeaders,
      query: listQuery({ name: textFilter("Its name"), state: optionalKey(Schema.Literals(SYNC_STATES)) }),
      success: page(ListedSync),
    }).annotateMerge(says("devices:read", "List the repositories that configurations are kept in")),
  )
  .add(
    HttpApiEndpoint.get("getSync", sync, { params: entityParams, query: readQuery, success: Sync }).annotateMerge(
      says("devices:read", "How configurations stand in a repository: last run, plan, faults"),
    ),
  )
  .add(
    HttpApiEndpoint.patch("changeSync", sync, {
      params: entityParams,
      headers: changeHeaders,
      payload: ChangeSync,
      success: Sync,
    }).annotateMerge(says("devices:configure", "Change how configurations are kept in a repository")),
  )
  .add(
    HttpApiEndpoint.delete("deleteSync", sync, {
      params: entityParams,
      headers: changeHeaders,
      success: HttpApiSchema.NoContent,
    }).annotateMerge(
      says("devices:configure", "Keep configurations in that repository no more", "The repository stays as it is."),
    ),
  )
  .add(
    HttpApiEndpoint.post("runSync", `${sync}/run`, acting).annotateMerge(
      says("devices:configure", "Bring repository and fleet together now, as the direction says"),
    ),
  )
  .add(
    HttpApiEndpoint.post("approveSync", `${sync}/approve`, { ...acting, payload: ApproveSync }).annotateMerge(
      says(
        "devices:configure",
        "Want of devices what the planned commit says",
        "Nothing is written to a device by it.",
      ),
    ),
  )
  .add(historyOf("historyOfSync", sync).annotateMerge(says("devices:read", "What happened with a repository")))
  .annotateMerge(
    OpenApi.annotations({ title: "Configurations in Git", description: "A TOML file for each device, out and in" }),
  );
