/**
 * What of a repository is read by a path, and whether somebody may who is for some applications only. Decision: docs/decisions. Objects lie
 * under names that say nothing of what they are of, so their publisher is asked.
 */
import { commitApplications, objectAllowed } from "@millrace/contracts/publishing/asks.ts";
import { type AppLimit, idOfRef, withinLimits } from "@millrace/domain/publishing/app-limit.ts";
import type { RepositoryState } from "@millrace/domain/publishing/repository.ts";
import { ask } from "@millrace/eventlog/asks.ts";
import type { Nats } from "@millrace/eventlog/connection.ts";

/** What a path is about. */
export type Subject =
  /** Said to every reader: what there is, and how it is signed. */
  | { readonly of: "all" }
  /** Of every application at once, and more than what there is. */
  | { readonly of: "catalogue" }
  | { readonly of: "application"; readonly id: string }
  | { readonly of: "commit"; readonly commit: string }
  | { readonly of: "object"; readonly object: string };

const OBJECT = /^\/objects\/([0-9a-f]{2})\/([0-9a-f]{62})\.([a-z]+)$/;
const DELTA = /^\/(?:deltas|delta-indexes)\/([A-Za-z0-9+_]{2})\/([A-Za-z0-9+_]{41})(?:-([A-Za-z0-9+_]{43}))?[/.]/;
const REF = /^\/refs\/heads\/(.+)$/;
const FLATPAKREF = /^\/(?:appstream\/)?([A-Za-z0-9._-]+)\.flatpakref$/;
const CATALOGUE = /^\/appstream2?\//;

/** @param path behind the repository's name, decoded */
export function subjectOf(path: string): Subject {
  const [, first, rest, kind] = OBJECT.exec(path) ?? [];
  if (first !== undefined) {
    const checksum = `${first}${rest}`;
    return kind === "commit" || kind === "commitmeta"
      ? { of: "commit", commit: checksum }
      : { of: "object", object: checksum };
  }
  const [, two, others, to] = DELTA.exec(path) ?? [];
  if (two !== undefined) {
    const commit = Buffer.from((to ?? two + others).replaceAll("_", "/"), "base64").toString("hex");
    return { of: "commit", commit };
  }
  const ref = REF.exec(path)?.[1];
  const id = FLATPAKREF.exec(path)?.[1] ?? (ref === undefined ? undefined : idOfRef(ref));
  if (id !== undefined) return { of: "application", id };
  return ref !== undefined || CATALOGUE.test(path) ? { of: "catalogue" } : { of: "all" };
}

/** What the repository says of a token of ours. */
export const readerLimits = ({ settings }: RepositoryState, token: string | undefined): ReadonlyArray<AppLimit> =>
  (settings.readers ?? [])
    .filter((reader) => reader.token === token)
    .map(({ applications }) => ({ prefixes: applications, apps: [] }));

/** Commits with their applications, and objects that were let through, that are remembered: both stay what they are. */
const REMEMBERED = 20_000;

export function remember<V>(all: Map<string, V>, key: string, value: V): void {
  if (all.size >= REMEMBERED) all.clear();
  all.set(key, value);
}

export class Reading {
  readonly #nats: Nats;
  readonly #applications = new Map<string, ReadonlyArray<string>>();
  readonly #allowed = new Map<string, true>();

  constructor(nats: Nats) {
    this.#nats = nats;
  }

  /**
   * @param limits none: all may be read
   * @returns why not, for a person; undefined: it may be read, or is not there
   * @throws AskUnavailable
   */
  async refusal(state: RepositoryState, limits: ReadonlyArray<AppLimit>, path: string): Promise<string | undefined> {
    if (limits.length === 0) return undefined;
    const subject = subjectOf(path);
    switch (subject.of) {
      case "all":
        return undefined;
      case "catalogue":
        return "This token is for some applications, and the catalogue is of all.";
      case "application":
        return withinLimits(limits, subject.id) ? undefined : other(subject.id);
      case "commit": {
        const of = await this.#applicationsOf(state, subject.commit);
        return of.length === 0 || of.some((id) => withinLimits(limits, id)) ? undefined : other(of[0]!);
      }
      case "object": {
        const may = await this.#mayRead(state, limits, subject.object);
        return may ? undefined : "This token is for some applications, and none of them has this object.";
      }
    }
  }

  async #applicationsOf({ id, node }: RepositoryState, commit: string): Promise<ReadonlyArray<string>> {
    const known = this.#applications.get(`${id} ${commit}`);
    if (known !== undefined || node === null) return known ?? [];
    const { applications } = await ask(this.#nats, commitApplications, node, { repository: id, commit });
    // One that is not there may come.
    if (applications === null) return [];
    remember(this.#applications, `${id} ${commit}`, applications);
    return applications;
  }

  async #mayRead({ id, node }: RepositoryState, limits: ReadonlyArray<AppLimit>, object: string): Promise<boolean> {
    if (node === null) return false;
    const key = `${id} ${object} ${JSON.stringify(limits)}`;
    if (this.#allowed.has(key)) return true;
    const { allowed } = await ask(this.#nats, objectAllowed, node, { repository: id, object, limits });
    // What is not may be published in a moment.
    if (allowed) remember(this.#allowed, key, true);
    return allowed;
  }
}

const other = (id: string): string => `This token is for other applications than ${id}.`;
