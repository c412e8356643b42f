/** Devices: the fleet, what is wanted of it, and what can be asked of one. */
import * as HttpApiEndpoint from "effect/http-api/HttpApiEndpoint";
import * as HttpApiGroup from "effect/http-api/HttpApiGroup";
import * as OpenApi from "effect/http-api/OpenApi";
import * as Schema from "effect/Schema";
import { createOf, deleteOf, getOf, listOf } from "../endpoints.ts";
import {
  accepted,
  booleanFilter,
  changeHeaders,
  commandHeaders,
  entityParams,
  ORGANISATION,
  says,
  Time,
  textFilter,
} from "../http.ts";
import { Name, Reference } from "../ids.ts";
import { diffOf, historyOf } from "../past.ts";
import { Capabilities, ConfigurationShown } from "./device-parts.ts";
import { DEVICE_STATES, Device, ListedDevice, ListedTask, Task } from "./entities.ts";
import { Action, FirmwareAsked, Plan } from "./task-parts.ts";
import {
  Configuration,
  ExpiresInMs,
  Host,
  LIMITS,
  Mac,
  PATTERNS,
  Password,
  PollMs,
  Port,
  Reason,
  Site,
  TASK_KINDS,
  TASK_STATES,
  Tags,
  Title,
  Values,
} from "./values.ts";

const { optionalKey } = Schema;

const Groups = Schema.Array(Reference)
  .check(Schema.isMaxLength(LIMITS.groups))
  .annotate({ description: "Groups that it is put into by hand, by id or name" });
const Profiles = Schema.Array(Reference)
  .check(Schema.isMaxLength(LIMITS.profiles))
  .annotate({ description: "Its profiles, by id or name; a later one wins over those before it" });
const expected = Schema.Boolean.annotate({ description: "Whether it should answer" });
const Components = Schema.Array(Schema.String.check(Schema.isPattern(PATTERNS.component))).check(
  Schema.isMinLength(1),
  Schema.isMaxLength(LIMITS.components),
);

export const AddDevice = Schema.Struct({
  mac: Mac,
  name: optionalKey(Name.annotate({ description: "Left out: `shelly-` and its MAC" })),
  title: optionalKey(Title),
  site: optionalKey(Site),
  tags: optionalKey(Tags),
  groups: optionalKey(Groups),
  expected: optionalKey(expected),
  pollMs: optionalKey(PollMs),
  host: optionalKey(Host.annotate({ description: "Where it is looked for first; an agent finds it by itself, too" })),
  port: optionalKey(Port),
}).annotate({
  identifier: "AddDevice",
  description: "Left out: the site `home`, expected to answer",
  examples: [{ mac: "C4D8D5517C68", name: "hall-lamp", tags: ["floor/1"], host: "192.168.1.40" }],
});
export const ChangeDevice = Schema.Struct({
  name: optionalKey(Name),
  title: optionalKey(Schema.NullOr(Title)),
  site: optionalKey(Site),
  tags: optionalKey(Tags),
  groups: optionalKey(Groups),
  expected: optionalKey(expected),
  pollMs: optionalKey(Schema.NullOr(PollMs)),
}).annotate({
  identifier: "ChangeDevice",
  description: "What is left out stays; lists are replaced as a whole; `null` takes title or interval off",
});
export const ConfigureDevice = Schema.Struct({
  configuration: optionalKey(Schema.NullOr(Configuration)),
  profiles: optionalKey(Profiles),
  values: optionalKey(Values),
}).annotate({
  identifier: "ConfigureDevice",
  description: "What is left out stays, what is given is replaced as a whole. Nothing is written before it is applied",
  examples: [{ configuration: { "switch:0": { auto_off: true, auto_off_delay: 300 } } }],
});
export const AdoptDevice = Schema.Struct({
  components: optionalKey(Components.annotate({ description: "Only these; left out: all that it has" })),
}).annotate({ identifier: "AdoptDevice" });
export const StoreCredentials = Schema.Struct({
  password: Schema.NullOr(Password).annotate({ description: "`null`: have it forgotten" }),
  realm: optionalKey(
    Schema.String.check(Schema.isPattern(/^[\x21-\x7e]{1,100}$/u)).annotate({
      description: "The device's own id, where nobody has talked to it yet: `shellyplus2pm-c4d8d5517c68`",
    }),
  ),
  gen: optionalKey(
    Schema.Int.check(Schema.isBetween({ minimum: 1, maximum: 4 })).annotate({
      description: "Its generation, where nobody has talked to it yet",
    }),
  ),
}).annotate({ identifier: "StoreDeviceCredentials" });

const expiresInMs = { expiresInMs: optionalKey(ExpiresInMs) };
export const Apply = Schema.Struct({
  dryRun: optionalKey(Schema.Boolean.annotate({ description: "Read and plan, and write nothing" })),
  ...expiresInMs,
}).annotate({ identifier: "ApplyDevice" });
export const Simple = Schema.Struct(expiresInMs).annotate({ identifier: "AskDevice" });
export const Act = Schema.Struct({ ...Action.fields, ...expiresInMs }).annotate({
  identifier: "ActOnDevice",
  examples: [{ component: "switch:0", action: "on", params: { afterS: 300 } }],
});
export const UpdateFirmware = Schema.Struct({ ...FirmwareAsked.fields, ...expiresInMs }).annotate({
  identifier: "UpdateDeviceFirmware",
  description: "Of `stage` and `url` at most one; neither: the newest stable one",
});
export const SetAuthentication = Schema.Struct({
  password: Schema.NullOr(Password).annotate({ description: "`null`: the device asks for none from then on" }),
  ...expiresInMs,
}).annotate({ identifier: "SetDeviceAuthentication" });
export const CancelTask = Schema.Struct({ reason: optionalKey(Reason) }).annotate({ identifier: "CancelDeviceTask" });

export const LiveStatus = Schema.Struct({ at: Time, status: ConfigurationShown }).annotate({
  identifier: "DeviceLiveStatus",
  description: "In the device's own words",
});

export const deviceFilters = {
  name: textFilter("Its name"),
  mac: textFilter("Its MAC"),
  site: textFilter("Where it stands"),
  tag: textFilter("It has this tag"),
  group: textFilter("Id of a group that it was put into"),
  profile: textFilter("Id of a profile that it has"),
  state: optionalKey(Schema.Literals(DEVICE_STATES)),
  model: textFilter("The maker's number of its model"),
  app: textFilter("Name of its firmware, e.g. `Plus2PM`"),
  gen: optionalKey(Schema.Literals(["1", "2", "3", "4"]).annotate({ description: "Its generation" })),
  firmware: textFilter("Version of its firmware"),
  drifted: booleanFilter("Whether it is not as wanted"),
  outdated: booleanFilter("Whether there is newer firmware for it"),
  managed: booleanFilter("Whether anything is wanted of it"),
  host: textFilter("Where it answers"),
  capability: textFilter("It has this component, e.g. `switch:1`"),
};

const all = `${ORGANISATION}/devices` as const;
const one = `${all}/:id` as const;
const tasks = `${ORGANISATION}/device-tasks` as const;
const task = `${tasks}/:id` as const;
const act = { params: entityParams, headers: changeHeaders, success: Device };
const asking = { params: entityParams, headers: commandHeaders, success: accepted(Task) };

const entityEndpoints = HttpApiGroup.make("devices")
  .add(
    createOf("addDevice", all, AddDevice, Device).annotateMerge(says("devices:edit", "Take a device into the fleet")),
  )
  .add(listOf("listDevices", all, ListedDevice, deviceFilters).annotateMerge(says("devices:read", "List devices")))
  .add(
    getOf("getDevice", one, Device).annotateMerge(
      says("devices:read", "A device by id or name, as it is or as it was"),
    ),
  )
  .add(
    HttpApiEndpoint.patch("changeDevice", one, { ...act, payload: ChangeDevice }).annotateMerge(
      says("devices:edit", "Change a device's name, place, tags or groups"),
    ),
  )
  .add(
    deleteOf("removeDevice", one).annotateMerge(
      says(
        "devices:delete",
        "Take a device out of the fleet",
        "It is left as it is, and what is stored of its password is destroyed.",
      ),
    ),
  )
  .add(historyOf("historyOfDevice", one).annotateMerge(says("devices:read", "What happened to a device")))
  .add(diffOf("diffDevice", one).annotateMerge(says("devices:read", "What differs between two moments of a device")))
  .add(
    HttpApiEndpoint.patch("configureDevice", `${one}/configuration`, {
      ...act,
      payload: ConfigureDevice,
    }).annotateMerge(says("devices:configure", "Say what is wanted of a device: own settings, profiles, values")),
  )
  .add(
    HttpApiEndpoint.post("adoptDevice", `${one}/adopt`, { ...act, payload: AdoptDevice }).annotateMerge(
      says("devices:configure", "Want of a device what it was last read to have"),
    ),
  )
  .add(
    HttpApiEndpoint.put("storeCredentials", `${one}/credentials`, { ...act, payload: StoreCredentials }).annotateMerge(
      says(
        "devices:configure",
        "Store a device's password, or have it forgotten",
        "Gen2 and later take a hash of it, which is all that is kept, sealed; of Gen1 the password itself is sealed. The device's own password is not changed.",
      ),
    ),
  )
  .add(
    HttpApiEndpoint.post("trustDevice", `${one}/trust`, act).annotateMerge(
      says("devices:configure", "Trust the next certificate that a device shows, and no other from then on"),
    ),
  );

const taskEndpoints = entityEndpoints
  .add(
    HttpApiEndpoint.post("applyDevice", `${one}/apply`, { ...asking, payload: Apply }).annotateMerge(
      says(
        "devices:configure",
        "Write to a device what is wanted of it",
        "It is read, what differs is written component by component, and read back; what fails is taken back.",
      ),
    ),
  )
  .add(
    HttpApiEndpoint.post("rebootDevice", `${one}/reboot`, { ...asking, payload: Simple }).annotateMerge(
      says("devices:control", "Reboot a device"),
    ),
  )
  .add(
    HttpApiEndpoint.post("actOnDevice", `${one}/action`, { ...asking, payload: Act }).annotateMerge(
      says("devices:control", "Have a device do something: switch, open, close, set"),
    ),
  )
  .add(
    HttpApiEndpoint.post("updateFirmware", `${one}/firmware`, { ...asking, payload: UpdateFirmware }).annotateMerge(
      says("devices:firmware", "Update the firmware of a device"),
    ),
  )
  .add(
    HttpApiEndpoint.post("readDevice", `${one}/read`, { ...asking, payload: Simple }).annotateMerge(
      says("devices:control", "Have a device read now"),
    ),
  )
  .add(
    HttpApiEndpoint.post("setAuthentication", `${one}/authentication`, {
      ...asking,
      payload: SetAuthentication,
    }).annotateMerge(
      says(
        "devices:configure",
        "Change the password of a device, there and here",
        "The new one is stored when the device was seen to take it.",
      ),
    ),
  )
  .add(
    HttpApiEndpoint.get("planOfDevice", `${one}/plan`, { params: entityParams, success: Plan }).annotateMerge(
      says("devices:read", "What an apply would write at this moment: the device is read, nothing is written"),
    ),
  )
  .add(
    HttpApiEndpoint.get("liveDevice", `${one}/live`, { params: entityParams, success: LiveStatus }).annotateMerge(
      says("devices:read", "How a device stands at this moment, asked of itself"),
    ),
  )
  .add(
    HttpApiEndpoint.get("capabilitiesOfDevice", `${one}/capabilities`, {
      params: entityParams,
      success: Capabilities,
    }).annotateMerge(says("devices:read", "What a device can, by what it says of itself")),
  );

export const devicesApi = taskEndpoints
  .add(
    listOf("listDeviceTasks", tasks, ListedTask, {
      device: textFilter("Id of the device"),
      kind: optionalKey(Schema.Literals(TASK_KINDS)),
      state: optionalKey(Schema.Literals(TASK_STATES)),
      over: booleanFilter("Whether it has ended"),
      bulk: textFilter("Id of the bulk operation that it belongs to"),
      site: textFilter("Where its device stands"),
    }).annotateMerge(says("devices:read", "List tasks of devices")),
  )
  .add(getOf("getDeviceTask", task, Task).annotateMerge(says("devices:read", "A task, as it is or as it was")))
  .add(
    HttpApiEndpoint.post("cancelDeviceTask", `${task}/cancel`, {
      params: entityParams,
      headers: commandHeaders,
      payload: CancelTask,
      success: accepted(Task),
    }).annotateMerge(says("devices:control", "Cancel a task; what it has written is taken back")),
  )
  .add(historyOf("historyOfDeviceTask", task).annotateMerge(says("devices:read", "What happened in a task")))
  .annotateMerge(
    OpenApi.annotations({ title: "Devices", description: "A fleet of devices, what is wanted of it, and its tasks" }),
  );
