import * as HttpApiGroup from "effect/http-api/HttpApiGroup";
import * as OpenApi from "effect/http-api/OpenApi";
import * as Schema from "effect/Schema";
import { changeOf, createOf, deleteOf, getOf, listOf } from "../endpoints.ts";
import type { PublicEvents } from "../events.ts";
import { entity, ORGANISATION, says, textFilter } from "../http.ts";
import { diffOf, historyOf } from "../past.ts";
import { ConfigurationShown } from "./device-parts.ts";
import { Selection, SelectionShown } from "./selection.ts";
import { Configuration, GroupId, Name, PollMs, ProfileId, Title } from "./values.ts";

const { optionalKey } = Schema;
const text = (description: string) => Schema.String.annotate({ description });

const reapply = Schema.Boolean.annotate({
  description: "When it changes, what its devices then want is written to them at once; else somebody applies it",
});
export const ProfileSpec = Schema.Struct({
  name: Name,
  title: optionalKey(Title),
  configuration: Configuration,
  reapply,
}).annotate({
  identifier: "ProfileSpec",
  description: "A configuration for many devices. `{{room}}` in a text is the device's own value of that name",
});
export const Profile = entity(
  ProfileId,
  ProfileSpec,
  Schema.Struct({
    reachedGeneration: Schema.Int.annotate({ description: "Its devices want what it said at this generation" }),
  }),
).annotate({ identifier: "DeviceProfile" });
export const GroupSpec = Schema.Struct({
  name: Name,
  title: optionalKey(Title),
  selection: optionalKey(Selection),
  pollMs: optionalKey(PollMs),
}).annotate({
  identifier: "GroupSpec",
  description: "Devices that were put into it, or those that its selection finds",
});
export const Group = entity(GroupId, GroupSpec, Schema.Struct({})).annotate({ identifier: "DeviceGroup" });

export const ProfileCreated = Schema.Struct({
  name: text("Unique name in the organisation"),
  title: optionalKey(text("Its title")),
  configuration: ConfigurationShown,
  reapply,
});
export const ProfileChanged = Schema.Struct({
  name: optionalKey(text("The new name")),
  title: optionalKey(Schema.NullOr(text("The new title"))),
  configuration: optionalKey(ConfigurationShown),
  reapply: optionalKey(reapply),
});
export const ProfileReached = Schema.Struct({
  generation: Schema.Int.annotate({ description: "Of the profile" }),
  devices: Schema.Int.annotate({ description: "How many devices have it" }),
  bulk: optionalKey(text("Id of the bulk operation that writes it to them")),
});
export const ProfileDeleted = Schema.Struct({ name: Schema.String });
export const profileEvents = {
  ProfileCreated: { version: 1, data: ProfileCreated, description: "A profile was created." },
  ProfileChanged: { version: 1, data: ProfileChanged, description: "A profile was changed." },
  ProfileReached: { version: 1, data: ProfileReached, description: "Devices want what their changed profile says." },
  ProfileDeleted: { version: 1, data: ProfileDeleted, description: "A profile was deleted." },
} as const satisfies PublicEvents;

const group = {
  title: text("Its title"),
  selection: SelectionShown,
  pollMs: Schema.Int.annotate({ description: "Milliseconds between polls of its devices" }),
};
export const GroupCreated = Schema.Struct({
  name: text("Unique name in the organisation"),
  title: optionalKey(group.title),
  selection: optionalKey(group.selection),
  pollMs: optionalKey(group.pollMs),
});
export const GroupChanged = Schema.Struct({
  name: optionalKey(text("The new name")),
  title: optionalKey(Schema.NullOr(group.title)),
  selection: optionalKey(Schema.NullOr(group.selection)),
  pollMs: optionalKey(Schema.NullOr(group.pollMs)),
});
export const GroupDeleted = Schema.Struct({ name: Schema.String });
export const groupEvents = {
  GroupCreated: { version: 1, data: GroupCreated, description: "A group of devices was created." },
  GroupChanged: { version: 1, data: GroupChanged, description: "A group of devices was changed." },
  GroupDeleted: { version: 1, data: GroupDeleted, description: "A group of devices was deleted." },
} as const satisfies PublicEvents;

export const CreateProfile = Schema.Struct({ ...ProfileSpec.fields, reapply: optionalKey(reapply) }).annotate({
  identifier: "CreateDeviceProfile",
  examples: [{ name: "eco", configuration: { sys: { device: { eco_mode: true } }, "switch:*": { name: "{{room}}" } } }],
});
export const ChangeProfile = Schema.Struct({
  name: optionalKey(Name),
  title: optionalKey(Schema.NullOr(Title)),
  configuration: optionalKey(Configuration),
  reapply: optionalKey(reapply),
}).annotate({
  identifier: "ChangeDeviceProfile",
  description: "What is left out stays; the configuration is replaced as a whole",
});
export const CreateGroup = Schema.Struct(GroupSpec.fields).annotate({ identifier: "CreateDeviceGroup" });
export const ChangeGroup = Schema.Struct({
  name: optionalKey(Name),
  title: optionalKey(Schema.NullOr(Title)),
  selection: optionalKey(Schema.NullOr(Selection)),
  pollMs: optionalKey(Schema.NullOr(PollMs)),
}).annotate({ identifier: "ChangeDeviceGroup", description: "What is left out stays; `null` takes it off" });

const profiles = `${ORGANISATION}/device-profiles` as const;
const profile = `${profiles}/:id` as const;
const groups = `${ORGANISATION}/device-groups` as const;
const groupOne = `${groups}/:id` as const;
const named = { name: textFilter("Its name") };

const profileEndpoints = HttpApiGroup.make("deviceSets")
  .add(
    createOf("createDeviceProfile", profiles, CreateProfile, Profile).annotateMerge(
      says("devices:configure", "Create a profile: a configuration for many devices"),
    ),
  )
  .add(
    listOf("listDeviceProfiles", profiles, Profile, named).annotateMerge(
      says("devices:read", "List profiles of devices"),
    ),
  )
  .add(
    getOf("getDeviceProfile", profile, Profile).annotateMerge(
      says("devices:read", "A profile by id or name, as it is or as it was"),
    ),
  )
  .add(
    changeOf("changeDeviceProfile", profile, ChangeProfile, Profile).annotateMerge(
      says("devices:configure", "Change a profile", "What its devices want changes with it, soon after."),
    ),
  )
  .add(
    deleteOf("deleteDeviceProfile", profile).annotateMerge(
      says("devices:configure", "Delete a profile; what devices have of it stays wanted"),
    ),
  )
  .add(historyOf("historyOfDeviceProfile", profile).annotateMerge(says("devices:read", "What happened to a profile")))
  .add(
    diffOf("diffDeviceProfile", profile).annotateMerge(
      says("devices:read", "What differs between two moments of a profile"),
    ),
  );

export const deviceSetsApi = profileEndpoints
  .add(
    createOf("createDeviceGroup", groups, CreateGroup, Group).annotateMerge(
      says("devices:edit", "Create a group of devices"),
    ),
  )
  .add(listOf("listDeviceGroups", groups, Group, named).annotateMerge(says("devices:read", "List groups of devices")))
  .add(
    getOf("getDeviceGroup", groupOne, Group).annotateMerge(
      says("devices:read", "A group of devices by id or name, as it is or as it was"),
    ),
  )
  .add(
    changeOf("changeDeviceGroup", groupOne, ChangeGroup, Group).annotateMerge(
      says("devices:edit", "Change a group of devices"),
    ),
  )
  .add(deleteOf("deleteDeviceGroup", groupOne).annotateMerge(says("devices:edit", "Delete a group; its devices stay")))
  .add(historyOf("historyOfDeviceGroup", groupOne).annotateMerge(says("devices:read", "What happened to a group")))
  .annotateMerge(
    OpenApi.annotations({ title: "Profiles and groups of devices", description: "What many devices have in common" }),
  );
