/** What is known of a repository, folded from its events. */
import type * as shape from "@millrace/contracts/publishing/repository-events.ts";
import {
  REPOSITORY_LIMITS,
  type REPOSITORY_STATES,
  type RepositorySpec,
  SETTING_NAMES,
} from "@millrace/contracts/publishing/repository-parts.ts";
import type { DomainEvent, EventMeta } from "../decider.ts";
import type { Sealed } from "../sealed.ts";

export type RepositoryStateName = (typeof REPOSITORY_STATES)[number];
export type RepositoryFailure = typeof shape.RepositoryFailed.Type;
export type Retention = NonNullable<typeof RepositorySpec.Type.retention>;
export type Validated = typeof shape.RepositoryValidated.Type;
export type Pruned = typeof shape.RepositoryPruned.Type;

/** What people ask of it; what is missing was not said. */
export type RepositorySettings = Omit<typeof RepositorySpec.Type, "name" | "collectionId">;

export interface RepositoryKey {
  readonly fingerprint: string;
  readonly user: string;
  readonly publicKey: string;
  readonly sealed: Sealed;
  /** Of an earlier one: until when it signs, too. */
  readonly until?: string;
}

export interface KeyAsked {
  /** What was given, sealed as it came; null: one is to be made. */
  readonly sealed: Sealed | null;
  readonly overlapDays: number;
}

/** Counts what was asked for and what was done, so that a request that comes meanwhile is not lost. */
export interface Asked<R> {
  readonly asked: number;
  readonly done: number;
  readonly last: (R & { readonly at: string }) | null;
}

export type Mirrored = typeof shape.RepositoryMirrored.Type;
export interface Mirroring {
  readonly asked: number;
  readonly done: number;
  /** References that somebody asked for, and what they need. */
  readonly wanted: ReadonlyArray<string>;
  /** By reference: the other repository's commit that was taken last, its time in seconds, and the build that did. */
  readonly taken: Readonly<Record<string, { readonly commit: string; readonly at: number; readonly build: string }>>;
  /** Builds that may not have ended, or failed. */
  readonly open: ReadonlyArray<string>;
  readonly last: (Omit<Mirrored, "by" | "request" | "taken" | "over" | "related"> & { readonly at: string }) | null;
}

export interface RepositoryState {
  readonly id: string;
  readonly organisation: string;
  readonly generation: number;
  readonly name: string;
  readonly collectionId: string | null;
  readonly settings: RepositorySettings;
  /** Null: there has never been one. */
  readonly state: RepositoryStateName | null;
  /** Null: no publisher has begun. Then it stays there. */
  readonly node: string | null;
  readonly attempt: number;
  readonly worker: string;
  /** Newest first: it is the one that is shown; all of them sign. */
  readonly keys: ReadonlyArray<RepositoryKey>;
  readonly rotation: KeyAsked | null;
  readonly keyFailure: RepositoryFailure | null;
  readonly failure: RepositoryFailure | null;
  /** Counts what clients are to see: settings and keys. */
  readonly revision: number;
  /** The revision that clients see. */
  readonly carried: number;
  readonly url: string | null;
  readonly validation: Asked<Validated>;
  readonly pruning: Asked<Pruned>;
  /** Of the repository that it follows. */
  readonly mirroring: Mirroring;
  /** Its files and keys are gone. */
  readonly removed: boolean;
  readonly createdAt: string;
  readonly updatedAt: string;
  readonly readyAt: string | null;
}

const NOTHING_ASKED = { asked: 0, done: 0, last: null } as const;
const NOTHING_MIRRORED: Mirroring = { ...NOTHING_ASKED, wanted: [], taken: {}, open: [] };

export const initial = (id: string): RepositoryState => ({
  id,
  organisation: "",
  generation: 0,
  name: "",
  collectionId: null,
  settings: {},
  state: null,
  node: null,
  attempt: 0,
  worker: "",
  keys: [],
  rotation: null,
  keyFailure: null,
  failure: null,
  revision: 0,
  carried: 0,
  url: null,
  validation: NOTHING_ASKED,
  pruning: NOTHING_ASKED,
  mirroring: NOTHING_MIRRORED,
  removed: false,
  createdAt: "",
  updatedAt: "",
  readyAt: null,
});

/** The settings with those that were said; null takes off. */
export function changedTo(
  settings: RepositorySettings,
  asked: { readonly [K in keyof RepositorySettings]?: RepositorySettings[K] | null | undefined },
): RepositorySettings {
  const merged = { ...settings, ...asked };
  const kept = SETTING_NAMES.filter((name) => merged[name] !== undefined && merged[name] !== null);
  return Object.fromEntries(kept.map((name) => [name, merged[name]])) as RepositorySettings;
}

export function evolve(
  before: RepositoryState,
  { type, data }: DomainEvent,
  { time, organisation }: EventMeta,
): RepositoryState {
  const state = { ...before, updatedAt: time };
  /** Clients are to see it. */
  const anew = { revision: before.revision + 1 };
  switch (type) {
    case "RepositoryCreated": {
      const { name, collectionId, ...asked } = data as typeof shape.RepositoryCreated.Type;
      const first = { generation: 1, revision: 1, state: "pending", createdAt: time } as const;
      const settings = changedTo({}, asked);
      return { ...state, ...first, organisation, name, collectionId: collectionId ?? null, settings };
    }
    case "RepositoryRetitled":
    case "RepositoryChanged": {
      const settings = changedTo(before.settings, data as typeof shape.RepositoryChanged.Type);
      // Another one to follow is looked at at once; what was taken stays known.
      const isSame = JSON.stringify(settings.mirror) === JSON.stringify(before.settings.mirror);
      const mirroring = isSame ? before.mirroring : { ...before.mirroring, last: null };
      return { ...state, ...anew, generation: before.generation + 1, settings, mirroring };
    }
    case "RepositoryBegun":
      return { ...state, ...(data as typeof shape.RepositoryBegun.Type), state: "making" };
    case "RepositoryKeyAsked": {
      const { overlapDays, sealed = null } = data as Partial<KeyAsked> & { readonly overlapDays: number };
      return { ...state, rotation: { overlapDays, sealed }, keyFailure: null };
    }
    case "RepositoryKeyMade": {
      const { until, ...key } = data as RepositoryKey;
      const earlier = before.keys.map((one) => ({ ...one, until: one.until ?? until ?? time }));
      return {
        ...state,
        ...anew,
        keys: [key, ...earlier].slice(0, REPOSITORY_LIMITS.keys),
        rotation: null,
        keyFailure: null,
      };
    }
    case "RepositoryKeyRefused":
      return { ...state, rotation: null, keyFailure: data as RepositoryFailure };
    case "RepositoryKeyRetired": {
      const { fingerprint } = data as typeof shape.RepositoryKeyRetired.Type;
      return { ...state, ...anew, keys: before.keys.filter((key) => key.fingerprint !== fingerprint) };
    }
    case "RepositoryMade":
      return { ...state, state: "ready", failure: null, readyAt: time };
    case "RepositoryConfigured": {
      const { revision, url = null } = data as typeof shape.RepositoryConfigured.Type;
      return { ...state, carried: revision, url };
    }
    case "RepositoryFailed":
      return { ...state, state: "failed", failure: data as RepositoryFailure };
    case "RepositoryRetried":
      return { ...state, state: "pending", attempt: 0, failure: null };
    case "RepositoryDeleted":
      return { ...state, state: "deleted" };
    case "RepositoryRemoved":
      return { ...state, removed: true, keys: [], rotation: null };
    default:
      return looked(before, type, data, time);
  }
}

const more = <R>(of: Asked<R>): Asked<R> => ({ ...of, asked: of.asked + 1 });

const done = <R extends { readonly request: number }>(of: Asked<R>, what: R, at: string): Asked<R> => ({
  ...of,
  done: Math.max(of.done, what.request),
  last: { ...what, at },
});

/** What was looked through, and asked to be. */
function looked(before: RepositoryState, type: string, data: unknown, time: string): RepositoryState {
  const state = { ...before, updatedAt: time };
  switch (type) {
    case "RepositoryValidationAsked":
      return { ...state, validation: more(before.validation) };
    case "RepositoryValidated":
      return { ...state, validation: done(before.validation, data as Validated, time) };
    case "RepositoryPruneAsked":
      return { ...state, pruning: more(before.pruning) };
    case "RepositoryPruned":
      return { ...state, pruning: done(before.pruning, data as Pruned, time) };
    case "RepositoryMirrorAsked": {
      const { refs } = data as typeof shape.RepositoryMirrorAsked.Type;
      const { mirroring } = before;
      const wanted = [...new Set([...mirroring.wanted, ...refs])];
      return { ...state, mirroring: { ...mirroring, wanted, asked: mirroring.asked + 1 } };
    }
    case "RepositoryMirrored":
      return { ...state, mirroring: mirrored(before.mirroring, data as Mirrored, time) };
    default:
      return before;
  }
}

function mirrored(before: Mirroring, data: Mirrored, at: string): Mirroring {
  const { by: _, request, taken, over, related, ...last } = data;
  const news = taken.map(({ ref, ...what }) => [ref, what] as const);
  const open = new Set([...before.open, ...taken.map(({ build }) => build)]);
  for (const build of over) open.delete(build);
  return {
    ...before,
    done: Math.max(before.done, request),
    wanted: [...new Set([...before.wanted, ...related])],
    taken: { ...before.taken, ...Object.fromEntries(news) },
    open: [...open],
    last: { ...last, at },
  };
}
