/**
 * The first organisation and the owner's token: made at start where they are missing, by any number of gateways at once. Their
 * ids come from what they stand for, so all of them make the same one.
 */
import { createHash } from "node:crypto";
import { makeId } from "@millrace/contracts/ids.ts";
import { isToken } from "@millrace/contracts/token.ts";
import { organisation } from "@millrace/domain/identity/organisation.ts";
import { token } from "@millrace/domain/identity/token.ts";
import type { EventLog } from "@millrace/eventlog/eventlog.ts";
import { type Change, type CommandContext, execute } from "@millrace/eventlog/execute.ts";
import type { Logger } from "@millrace/eventlog/logging.ts";
import { hashOf, type IdentityDirectory } from "./identity.ts";

interface Owner {
  /** Name of the first organisation. */
  readonly organisation: string;
  /** The owner's token in clear; left out, nobody is made owner. */
  readonly ownerToken?: string | undefined;
}

const derived = (prefix: string, of: string): string =>
  makeId(prefix, 0, createHash("sha256").update(`millrace bootstrap ${prefix}\n${of}`).digest());

/** @throws Error when the token is none; LogUnavailable */
export async function bootstrap(
  log: EventLog,
  identity: IdentityDirectory,
  logger: Logger,
  { organisation: name, ownerToken }: Owner,
): Promise<void> {
  if (ownerToken === undefined) return;
  if (!isToken(ownerToken)) throw new Error("the owner's token is no token: its checksum does not fit");
  // Once there, it stays with the organisation it was made in, whatever that is called today.
  const hash = hashOf(ownerToken);
  if (identity.tokenByHash(hash) !== undefined) return;

  const id = identity.organisation(name)?.id ?? derived("org", name);
  if (identity.organisation(id) === undefined) {
    const title = name[0]!.toUpperCase() + name.slice(1);
    await make(log, identity, id, { kind: organisation, id, command: { type: "CreateOrganisation", name, title } });
    logger.info({ organisation: id, name }, "created the first organisation");
  }
  const tokenId = derived("tok", hash);
  await make(log, identity, id, {
    kind: token,
    id: tokenId,
    command: {
      type: "CreateToken",
      name: `owner-${tokenId.slice(-6)}`,
      hash,
      last8: ownerToken.slice(-8),
      grants: ["*"],
      installation: true,
      granter: [["*"]],
    },
  });
  logger.info({ id: tokenId }, "registered the owner's token");
}

/** Another gateway may be faster: then it is there, and that is what was wanted. */
async function make(log: EventLog, identity: IdentityDirectory, organisationId: string, change: Change): Promise<void> {
  const commandId = `bootstrap_${change.id}`;
  const context: CommandContext = {
    organisation: organisationId,
    actor: { kind: "system", id: "bootstrap", name: "bootstrap" },
    commandId,
    digest: "",
    correlation: commandId,
    causation: commandId,
    now: new Date().toISOString(),
  };
  const outcome = await execute(log, change, context);
  if ("ok" in outcome) return identity.waitFor(outcome.ok.seq);
  const loaded = await log.aggregates.load(change.kind, change.id);
  if (loaded.seq === 0) throw new Error(`could not be made: ${JSON.stringify(outcome.refusal)}`);
  await identity.waitFor(loaded.seq);
}
