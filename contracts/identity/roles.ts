/** Roles: named lists of grants; those that come with the product, and what it is to bind one. */
import * as Schema from "effect/Schema";
import { CONTEXT_NAMES } from "../access.ts";
import { Name } from "../ids.ts";
import { PERMISSIONS } from "../permissions.ts";

export interface BuiltInRole {
  readonly name: string;
  readonly title: string;
  readonly description: string;
  readonly grants: ReadonlyArray<string>;
}

const all = Object.keys(PERMISSIONS);
const verbOf = (permission: string): string => permission.slice(permission.indexOf(":") + 1);
const byVerb = (verbs: ReadonlyArray<string>, except: ReadonlyArray<string> = []): string[] =>
  all.filter(
    (permission) =>
      verbs.includes(verbOf(permission)) && !except.some((context) => permission.startsWith(`${context}:`)),
  );
const reading = byVerb(["read"]);

/** A new context's permissions fall to these by their verbs: read, comment, edit, operate … */
export const BUILT_IN_ROLES: ReadonlyArray<BuiltInRole> = [
  {
    name: "owner",
    title: "Owner",
    description: "Everything, and makes other owners. An organisation keeps at least one.",
    grants: ["*"],
  },
  {
    name: "admin",
    title: "Administrator",
    description: "Everything in every context, but can make nobody an owner.",
    grants: CONTEXT_NAMES.map((context) => `${context}:*`),
  },
  {
    name: "operator",
    title: "Operator",
    description: "Keeps things running: deploys, starts, stops, looks into logs, works on items.",
    grants: [
      ...new Set([
        ...reading,
        ...byVerb(["comment", "deploy", "operate", "logs", "control", "firmware"]),
        "work:edit",
        "work:waive",
      ]),
    ],
  },
  {
    name: "developer",
    title: "Developer",
    description: "Makes and changes things, deploys them and looks into logs.",
    grants: [
      ...new Set([
        ...reading,
        ...byVerb(
          ["edit", "comment", "deploy", "operate", "logs", "control", "configure", "firmware"],
          ["identity", "system"],
        ),
      ]),
    ],
  },
  { name: "viewer", title: "Viewer", description: "Sees everything, changes nothing.", grants: reading },
];

export const builtInRole = (name: string): BuiltInRole | undefined => BUILT_IN_ROLES.find((role) => role.name === name);

/** What a role of one's own making may hold at the most, and how many roles one can be given. */
export const ACCESS_LIMITS = { grantsOfRole: 100, roles: 100, bindings: 50, invitationDays: 30 } as const;

/** Where a role is bound. */
export const Place = Schema.String.check(
  Schema.isPattern(/^([a-z]{1,32}|[a-z]{2,8}_[0-9a-hjkmnp-tv-z]{26})$/u),
).annotate({
  title: "Place",
  description: "A context (`applications`), or the id of one resource; left out where it is the whole organisation",
  examples: ["applications"],
});

/** A role that somebody has, and where. */
export const Binding = Schema.Struct({
  role: Name.annotate({ description: "Name of the role" }),
  id: Schema.optionalKey(Schema.String.annotate({ description: "Its id; those that come with the product have none" })),
  at: Schema.optionalKey(Place),
}).annotate({ identifier: "Binding" });
export type Binding = typeof Binding.Type;

export const sameBinding = (a: Binding, b: Binding): boolean => a.role === b.role && a.id === b.id && a.at === b.at;

/** Of the whole organisation. */
export const isOwnership = ({ role, id, at }: Binding): boolean =>
  role === "owner" && id === undefined && at === undefined;
