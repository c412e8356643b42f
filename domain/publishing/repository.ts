/** A repository: asked for, made by a publisher on one node's disk, with keys that sign. */
import * as shape from "@millrace/contracts/publishing/repository-events.ts";
import * as Schema from "effect/Schema";
import type { DomainEvent } from "../decider.ts";
import type { Kind } from "../kind.ts";
import { Sealed } from "../sealed.ts";
import { excerpt, first, listed } from "../sentences.ts";
import { decide, names, type RepositoryCommand } from "./repository-decide.ts";
import { evolve, initial, type RepositoryKey, type RepositoryState } from "./repository-state.ts";

export {
  nextOfRepository,
  type RepositoryCommand,
  type RepositoryNext,
  type RepositoryReport,
  type RepositoryStep,
} from "./repository-decide.ts";
export type {
  Mirroring,
  RepositoryFailure,
  RepositoryKey,
  RepositorySettings,
  RepositoryState,
  RepositoryStateName,
  Retention,
} from "./repository-state.ts";

const KEY = {
  fingerprint: "9F3C1A2B4D5E6F708192A3B4C5D6E7F801234567",
  user: "Our applications",
  publicKey: "mDMEZ…",
};
const SEALED = { v: 1, key: "k1", subject: "rep_01kajzq4v0e8r9t2m5x7c3d6fg", iv: "AA", data: "AA" } as const;
const FAILURE = { code: "TOOLS_MISSING", reason: "ostree is not installed.", fix: "Run mill setup." };
const LOOKED = { objects: 43_000, bytes: 334_000_000, refs: 200, found: 0, findings: [], request: 1 };
const PRUNED = {
  quarantined: 12,
  quarantinedBytes: 4_096,
  deltas: 1,
  restored: 0,
  deleted: 0,
  deletedBytes: 0,
  snapshots: 0,
  request: 1,
};
const short = (fingerprint: string): string => fingerprint.slice(-16);
/** Names of fields as people read them: `default branch`. */
const words = (name: string): string => name.replaceAll(/[A-Z]/g, (letter) => ` ${letter.toLowerCase()}`);

export const repository: Kind<RepositoryState, RepositoryCommand, DomainEvent> = {
  context: "publishing",
  kind: "repository",
  prefix: "rep",
  collection: "repositories",
  decider: { initial, evolve, decide },
  events: {
    RepositoryCreated: first(
      shape.RepositoryCreated,
      { name: "stable", title: "Our applications", collectionId: "org.example.Stable" },
      ({ name, visibility }) => `asked for the ${visibility === "private" ? "private " : ""}repository "${name}"`,
    ),
    RepositoryRetitled: first(shape.RepositoryRetitled, { title: "Ours" }, ({ title: text }) =>
      text === null ? "took its title off" : `titled it "${excerpt(text)}"`,
    ),
    RepositoryChanged: first(
      shape.RepositoryChanged,
      { comment: "What we make", homepage: null },
      (data) => `changed its ${listed(Object.keys(data).map(words))}`,
    ),
    RepositoryBegun: first(
      shape.RepositoryBegun,
      { node: "local", attempt: 1, worker: "attic:1:a" },
      ({ node, attempt }) => `began to make it on the node ${node}${attempt > 1 ? `, attempt ${attempt}` : ""}`,
    ),
    RepositoryKeyAsked: {
      version: 1,
      data: Schema.Struct({ ...shape.RepositoryKeyAsked.fields, sealed: Schema.optionalKey(Sealed) }),
      examples: { 1: { imported: true, overlapDays: 90, sealed: SEALED } },
      sentence: ({ imported }: { imported: boolean }) => (imported ? "gave it another key" : "asked for another key"),
      toPublic: ({ imported, overlapDays }: typeof shape.RepositoryKeyAsked.Type) => ({ imported, overlapDays }),
    },
    RepositoryKeyMade: {
      version: 1,
      data: Schema.Struct({ ...shape.RepositoryKeyMade.fields, sealed: Sealed }),
      examples: { 1: { ...KEY, sealed: SEALED } },
      sentence: ({ fingerprint }: RepositoryKey) => `made its key ${short(fingerprint)}`,
      toPublic: ({ sealed: _, ...shown }: RepositoryKey) => shown,
    },
    RepositoryKeyRefused: first(
      shape.RepositoryKeyRefused,
      { code: "NO_KEY", reason: "There is no secret key in it.", fix: "Export it anew." },
      ({ code, reason }) => `did not take the key (${code}): ${excerpt(reason)}`,
    ),
    RepositoryKeyRetired: first(
      shape.RepositoryKeyRetired,
      { fingerprint: KEY.fingerprint },
      ({ fingerprint }) => `ended its key ${short(fingerprint)}`,
    ),
    RepositoryMade: first(shape.RepositoryMade, { attempt: 1 }, () => "made it"),
    RepositoryConfigured: first(
      shape.RepositoryConfigured,
      { revision: 2, url: "https://flatpak.example.org/repo/stable/" },
      ({ url }) => `let clients see it as asked${url === undefined ? "" : ` at ${url}`}`,
    ),
    RepositoryFailed: first(
      shape.RepositoryFailed,
      FAILURE,
      ({ code, reason }) => `could not make it (${code}): ${excerpt(reason)}`,
    ),
    RepositoryRetried: first(shape.RepositoryRetried, {}, () => "asked for another try"),
    RepositoryValidationAsked: first(shape.RepositoryValidationAsked, {}, () => "asked to have all of it checked"),
    RepositoryValidated: first(
      shape.RepositoryValidated,
      { ...LOOKED, by: "command" },
      ({ objects, found }) => `checked ${objects} objects: ${found === 0 ? "all well" : `${found} findings`}`,
    ),
    RepositoryPruneAsked: first(shape.RepositoryPruneAsked, {}, () => "asked to prune it"),
    RepositoryPruned: first(
      shape.RepositoryPruned,
      { ...PRUNED, by: "retention" },
      ({ quarantined, deleted }) => `pruned it: ${quarantined} objects into quarantine, ${deleted} deleted`,
    ),
    RepositoryMirrorAsked: first(
      shape.RepositoryMirrorAsked,
      { refs: ["app/org.example.Hello/x86_64/stable"] },
      ({ refs }) =>
        refs.length === 0
          ? "asked to look at the repository that it follows"
          : `asked to follow ${refs.length === 1 ? refs[0] : `${refs.length} references`}`,
    ),
    RepositoryMirrored: first(
      shape.RepositoryMirrored,
      {
        ...{ by: "schedule", request: 0, refs: 12, waiting: 0, more: 0, found: 0, findings: [], over: [], related: [] },
        taken: [
          {
            ref: "app/org.example.Hello/x86_64/stable",
            commit: "2ea53b3aa3a6bd8aeb1b1ec3cd4b9ee4f4b7b5ad0c0b26e5eec6ac0ba2ab5d1c",
            at: 1_795_248_000,
            build: "bld_01kajzq4v0e8r9t2m5x7c3d6fg",
          },
        ],
      },
      ({ refs, taken, found }) =>
        `looked at the repository that it follows: ${taken.length} of ${refs} references are new${found === 0 ? "" : `, ${found} findings`}`,
    ),
    RepositoryDeleted: first(
      shape.RepositoryDeleted,
      { name: "stable" },
      ({ name }) => `deleted the repository "${name}"`,
    ),
    RepositoryRemoved: first(shape.RepositoryRemoved, {}, () => "destroyed its files and keys"),
  },
  publicEvents: shape.repositoryEvents,
  generation: (state) => state.generation,
  exists: (state) => state.state !== null && state.state !== "deleted",
  over: ({ state }) => state === "ready" || state === "failed" || state === "deleted",
  represent: (state) => ({
    id: state.id,
    organisation: state.organisation,
    generation: state.generation,
    spec: {
      name: state.name,
      ...(state.collectionId === null ? {} : { collectionId: state.collectionId }),
      ...state.settings,
    },
    status: statusOf(state),
    createdAt: state.createdAt,
    updatedAt: state.updatedAt,
  }),
  nameClaim: names.of,
  stateVersion: 3,
};

const mirrorShown = ({ asked, done, last, taken, open }: RepositoryState["mirroring"], follows: boolean): object => ({
  ...(follows && asked > done ? { mirroring: true } : {}),
  ...(last === null ? {} : { mirror: { ...last, taken: Object.keys(taken).length, builds: open } }),
});

const shown = ({ fingerprint, user, publicKey }: RepositoryKey) => ({ fingerprint, user, publicKey });
const present = <T>(name: string, value: T | null | undefined) =>
  value === null || value === undefined ? {} : { [name]: value };

function statusOf(state: RepositoryState): object {
  const [key, ...others] = state.keys;
  const { validation, pruning, mirroring } = state;
  const withoutRequest = <R extends { readonly request: number; readonly by: string }>(last: R | null) => {
    if (last === null) return undefined;
    const { request: _, by: __, ...told } = last;
    return told;
  };
  return {
    state: state.state,
    ...present("node", state.node),
    ...present("url", state.url),
    ...present("key", key && shown(key)),
    ...(others.length === 0 ? {} : { otherKeys: others.map((one) => ({ ...shown(one), until: one.until })) }),
    ...(state.rotation === null || state.state !== "ready" ? {} : { rotating: true }),
    ...present("keyFailure", state.keyFailure),
    ...present("failure", state.failure),
    ...(state.state === "ready" ? { settled: state.carried >= state.revision } : {}),
    ...present("readyAt", state.readyAt),
    ...(validation.asked > validation.done ? { validating: true } : {}),
    ...present("validation", withoutRequest(validation.last)),
    ...(pruning.asked > pruning.done ? { pruning: true } : {}),
    ...present("pruned", withoutRequest(pruning.last)),
    ...mirrorShown(mirroring, state.settings.mirror !== undefined),
  };
}
