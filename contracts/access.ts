/**
 * Who may do what, as pure functions over what is held. What a caller holds are *layers*, each a list of grants with where it came from; to be
 * allowed, a permission must be in every layer. A token of a member has two: what the member's roles give now, and the token's own grants.
 * A token without a member has one.
 */
import { PREFIXES } from "./ids.ts";
import { PERMISSIONS } from "./permissions.ts";

/** Where a grant comes from: the token's own list, or a role that is bound. */
export type Via =
  | { readonly kind: "grant" }
  | {
      readonly kind: "binding";
      /** Name of the role. */
      readonly role: string;
      /** A context, or the id of a resource; left out: the whole organisation. */
      readonly at?: string;
    };

export interface Held {
  /** `*`, `<context>:*` or `<context>:<verb>`, perhaps with `@<id>`. */
  readonly grant: string;
  readonly via: Via;
}

export interface Layer {
  readonly of: { readonly kind: "member" | "token"; readonly id: string; readonly name: string };
  readonly held: ReadonlyArray<Held>;
}

/**
 * Which resources a permission is held for: those whose lineage (own id, parents' ids, the organisation's) meets every one of the sets. No
 * set at all: everything.
 */
export type Reach = ReadonlyArray<ReadonlySet<string>>;

export const EVERYTHING: Reach = [];

export const within = (reach: Reach, lineage: ReadonlyArray<string>): boolean =>
  reach.every((ids) => lineage.some((id) => ids.has(id)));

/** A grant in its two parts. */
function partsOf(grant: string): readonly [what: string, resource: string | undefined] {
  const at = grant.indexOf("@");
  return at < 0 ? [grant, undefined] : [grant.slice(0, at), grant.slice(at + 1)];
}

const contextOf = (permission: string): string => permission.slice(0, permission.indexOf(":"));

/** Whether what a grant says, without its resource, holds the permission. */
const says = (what: string, permission: string): boolean =>
  what === "*" || what === permission || (what.endsWith(":*") && permission.startsWith(what.slice(0, -1)));

/** One layer, prepared to be asked often. */
class Prepared {
  readonly #everywhere = new Set<string>();
  readonly #at = new Map<string, Set<string>>();

  constructor({ held }: Layer) {
    for (const { grant } of held) {
      const [what, resource] = partsOf(grant);
      if (resource === undefined) this.#everywhere.add(what);
      else this.#at.set(what, (this.#at.get(what) ?? new Set()).add(resource));
    }
  }

  /** @returns "all", or the ids that it is held for; undefined: none */
  reach(permission: string): "all" | ReadonlySet<string> | undefined {
    const ways = ["*", permission, `${contextOf(permission)}:*`];
    if (ways.some((what) => this.#everywhere.has(what))) return "all";
    const found = ways.flatMap((what) => [...(this.#at.get(what) ?? [])]);
    return found.length === 0 ? undefined : new Set(found);
  }

  /** Whether one of its grants holds at least what this one does. */
  covers(grant: string): boolean {
    const [what, resource] = partsOf(grant);
    const ways = ["*", what, what.includes(":") ? `${contextOf(what)}:*` : what];
    return ways.some(
      (way) => this.#everywhere.has(way) || (resource !== undefined && this.#at.get(way)?.has(resource) === true),
    );
  }
}

/** All that a caller may do at this moment. */
export class Powers {
  readonly layers: ReadonlyArray<Layer>;
  readonly #prepared: ReadonlyArray<Prepared>;
  readonly #reaches = new Map<string, Reach | undefined>();
  #text: string | undefined;

  constructor(layers: ReadonlyArray<Layer>) {
    this.layers = layers;
    this.#prepared = layers.map((layer) => new Prepared(layer));
  }

  /** @returns where it is held; undefined: nowhere. @param organisation id: a grant for it is one for everything in it */
  reach(permission: string, organisation: string): Reach | undefined {
    const key = `${permission} ${organisation}`;
    if (this.#reaches.has(key)) return this.#reaches.get(key);
    const sets: ReadonlySet<string>[] = [];
    // Nothing is held by whoever has no layer at all.
    let reach: Reach | undefined = this.#prepared.length > 0 ? sets : undefined;
    for (const layer of this.#prepared) {
      const ids = layer.reach(permission);
      if (ids === undefined) reach = undefined;
      else if (ids !== "all" && !ids.has(organisation)) sets.push(ids);
    }
    if (this.#reaches.size > 1_000) this.#reaches.clear();
    this.#reaches.set(key, reach);
    return reach;
  }

  /** @param lineage ids of the resource and of its parents; a grant for any of them suffices */
  allows(permission: string, organisation: string, lineage: ReadonlyArray<string> = []): boolean {
    const reach = this.reach(permission, organisation);
    return reach !== undefined && within(reach, lineage);
  }

  /** Whether a grant may be handed out: nobody gives what they do not have. */
  mayGive(grant: string): boolean {
    return this.#prepared.length > 0 && this.#prepared.every((layer) => layer.covers(grant));
  }

  /** Only what the token itself says, for what its member makes for itself. */
  get ofToken(): Powers {
    return new Powers(this.layers.filter(({ of }) => of.kind === "token"));
  }

  /** As plain data, for commands. */
  get grants(): ReadonlyArray<ReadonlyArray<string>> {
    return this.layers.map(({ held }) => held.map(({ grant }) => grant));
  }

  /** Equal for equal powers. */
  get text(): string {
    this.#text ??= this.layers.map(({ held }) => held.map(({ grant }) => grant).join()).join("\n");
    return this.#text;
  }
}

/** What of some grants goes beyond what the giver holds, by the giver's layers: nobody gives what they do not have. */
export function beyondOwn(
  giver: ReadonlyArray<ReadonlyArray<string>>,
  grants: ReadonlyArray<string>,
): ReadonlyArray<string> {
  const of = { kind: "token", id: "", name: "" } as const;
  const powers = new Powers(
    giver.map((layer) => ({ of, held: layer.map((grant) => ({ grant, via: { kind: "grant" } as const })) })),
  );
  return grants.filter((grant) => !powers.mayGive(grant));
}

/** A grant that allows, or would allow. */
export interface Reason {
  readonly layer: Layer["of"];
  readonly grant: string;
  readonly via: Via;
}

export interface Missing {
  readonly layer: Layer["of"];
  /** Any one of these grants in that layer would do. */
  readonly grants: ReadonlyArray<string>;
}

export interface Decision {
  readonly allowed: boolean;
  /** For each layer that has it, every grant that gives it. */
  readonly because: ReadonlyArray<Reason>;
  /** For each layer that lacks it. */
  readonly missing: ReadonlyArray<Missing>;
}

/**
 * Whether, and why. Answers as `Powers.allows` does, more slowly and with reasons.
 * @param lineage ids of the resource, of its parents and of the organisation, the nearest first; the organisation alone: all of it
 */
export function decideAccess(
  layers: ReadonlyArray<Layer>,
  permission: string,
  lineage: ReadonlyArray<string>,
): Decision {
  const because: Reason[] = [];
  const missing: Missing[] = [];
  for (const { of, held } of layers) {
    const giving = held.filter(({ grant }) => {
      const [what, resource] = partsOf(grant);
      return says(what, permission) && (resource === undefined || lineage.includes(resource));
    });
    if (giving.length > 0) because.push(...giving.map(({ grant, via }) => ({ layer: of, grant, via })));
    else missing.push({ layer: of, grants: [permission, ...lineage.map((id) => `${permission}@${id}`)] });
  }
  return { allowed: layers.length > 0 && missing.length === 0, because, missing };
}

/** Whether what a role may do holds a permission somewhere: used to name the roles that would help. */
export const roleSays = (grants: ReadonlyArray<string>, permission: string): boolean =>
  grants.some((grant) => says(grant, permission));

/** The context that a resource is of, by its id; undefined for the organisation and for what has no prefix of its own. */
const contextOfResource = (id: string): string | undefined => {
  const prefix = id.slice(0, id.indexOf("_"));
  const kind = Object.entries(PREFIXES).find(([, known]) => known === prefix)?.[0];
  return kind === undefined || kind === "identity.organisation" ? undefined : kind.slice(0, kind.indexOf("."));
};

const heldTo = (context: string, grants: ReadonlyArray<string>): string[] =>
  grants.flatMap((grant) => (grant === "*" ? [`${context}:*`] : contextOf(grant) === context ? [grant] : []));

/**
 * The grants that a binding gives: those of its role, held to a context, or to a resource and its context's permissions.
 * @param at a context, the id of a resource, or undefined for the whole organisation
 */
export function grantsOfBinding(grants: ReadonlyArray<string>, at: string | undefined): string[] {
  if (at === undefined) return [...grants];
  if (!at.includes("_")) return heldTo(at, grants);
  const context = contextOfResource(at);
  return (context === undefined ? grants : heldTo(context, grants)).map((grant) => `${grant}@${at}`);
}

/** Every context that has permissions. */
export const CONTEXT_NAMES: ReadonlyArray<string> = [
  ...new Set(Object.keys(PERMISSIONS).map((permission) => contextOf(permission))),
];
