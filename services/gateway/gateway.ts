/** What routes are given: the parts of the gateway, and nothing of HTTP. */

import type { KeyObject } from "node:crypto";
import { isId } from "@millrace/contracts/ids.ts";
import { NotFound } from "@millrace/contracts/problems.ts";
import type { Kind } from "@millrace/domain/kind.ts";
import type { Addresses } from "@millrace/eventlog/addresses.ts";
import type { Loaded } from "@millrace/eventlog/aggregate.ts";
import type { DeadLetters } from "@millrace/eventlog/deadletters.ts";
import type { EventLog } from "@millrace/eventlog/eventlog.ts";
import { readClaim } from "@millrace/eventlog/execute.ts";
import type { Logger } from "@millrace/eventlog/logging.ts";
import type { Logs } from "@millrace/eventlog/logs.ts";
import type { Postgres } from "@millrace/eventlog/postgres.ts";
import type { Sealing } from "@millrace/eventlog/sealing.ts";
import type { Asked } from "./asked.ts";
import { fail } from "./failures.ts";
import type { IdentityDirectory } from "./identity.ts";
import type { Limits } from "./limits.ts";
import type { TokenUses } from "./uses.ts";
import type { Waits } from "./waits.ts";

export interface Gateway {
  readonly log: EventLog;
  /** Lists, history, search. */
  readonly postgres: Postgres;
  readonly deadLetters: DeadLetters;
  readonly sealing: Sealing;
  readonly identity: IdentityDirectory;
  readonly uses: TokenUses;
  readonly limits: Limits;
  readonly waits: Waits;
  /** Log lines of what runs. */
  readonly logs: Logs;
  /** Below it every application has a host of its own. */
  readonly appsDomain: string;
  /** GiB of attachments that each organisation may have. */
  readonly attachmentGib: number;
  /** Which addresses webhooks and channels may lead to. */
  readonly addresses: Addresses;
  readonly logger: Logger;
  /** Key the digests of what clients send, so that a digest in the log tells nothing of its input: today's, then those of before. */
  readonly digestKeys: readonly [KeyObject, ...KeyObject[]];
  /** Signs tickets for services that hold bytes. */
  readonly ticketKey: Uint8Array;
  /** Sign links that are shared: today's, then those of before, whose links are good until they expire. */
  readonly shareKeys: readonly [Uint8Array, ...Uint8Array[]];
}

/**
 * From an id or a unique name to the id. Whether anything is there is not asked for an id.
 * @throws Failed (not-found), LogUnavailable
 */
export async function resolve(gateway: Gateway, kind: Kind, organisation: string, reference: string): Promise<string> {
  if (isId(kind.prefix, reference)) return reference;
  const claim = kind.nameClaim?.(organisation, reference);
  const holder = claim === undefined ? null : (await readClaim(gateway.log, kind.context, claim)).holder;
  return holder ?? fail(new NotFound({ detail: `There is no such ${kind.kind}.` }));
}

/**
 * Ids that a grant may name for it to hold for an entity: its own, and those of what it belongs to.
 * @returns only its own where it is not there, or another organisation's. @throws LogUnavailable
 */
export async function lineageOf(
  { log }: Pick<Gateway, "log">,
  kind: Kind,
  id: string,
  organisation: string,
): Promise<string[]> {
  if (kind.parents === undefined) return [id];
  const loaded = await log.aggregates.load(kind, id);
  return loaded.organisation === organisation ? [id, ...kind.parents(loaded.state)] : [id];
}

/** An entity of the organisation, by id or name. @throws Failed (not-found) */
export async function loadOwn<S>(gateway: Gateway, kind: Kind<S>, asked: Asked, reference: string): Promise<Loaded<S>> {
  const organisation = asked.organisation!.id;
  const loaded = await gateway.log.aggregates.load(kind, await resolve(gateway, kind, organisation, reference));
  const there = loaded.organisation === organisation && kind.exists(loaded.state);
  return there ? loaded : fail(new NotFound({ detail: `There is no such ${kind.kind}.` }));
}
