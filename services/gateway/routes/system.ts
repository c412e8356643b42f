/** The audit log, the search, dead letters, projections. */
import { Api } from "@millrace/contracts/api.ts";
import { Requires } from "@millrace/contracts/permissions.ts";
import { NotFound, Refused } from "@millrace/contracts/problems.ts";
import { CONTEXTS } from "@millrace/domain/contexts.ts";
import { BackupBoard } from "@millrace/eventlog/backup/status.ts";
import type { DeadLetter } from "@millrace/eventlog/deadletters.ts";
import { listCheckpoints, requestRebuild } from "@millrace/eventlog/projection-checkpoint.ts";
import * as Context from "effect/Context";
import * as HttpServerResponse from "effect/http/HttpServerResponse";
import * as HttpApi from "effect/http-api/HttpApi";
import * as HttpApiBuilder from "effect/http-api/HttpApiBuilder";
import type { Asked } from "../asked.ts";
import { handle, json } from "../command.ts";
import { fail } from "../failures.ts";
import type { Gateway } from "../gateway.ts";
import { audit, search } from "../history.ts";
import { ask } from "../queries.ts";

/** What reading each kind takes, by `<context>.<kind>`: what its own endpoint says. */
function readPermissions(): Map<string, string> {
  const byCollection = new Map<string, string>();
  HttpApi.reflect(Api as never, {
    onGroup: () => {},
    onEndpoint: ({ endpoint }) => {
      const collection = /^\/v1\/organisations\/:org\/([a-z-]+)\/:id$/.exec(endpoint.path)?.[1];
      const permission = Context.getOrUndefined(endpoint.annotations, Requires);
      if (endpoint.method === "GET" && collection !== undefined && permission !== undefined) {
        byCollection.set(collection, permission);
      }
    },
  });
  byCollection.set("organisations", "identity:read");
  return new Map(
    Object.values(CONTEXTS).flatMap(({ name, kinds }) =>
      Object.values(kinds).flatMap((kind) => {
        const permission = byCollection.get(kind.collection);
        return permission === undefined ? [] : [[`${name}.${kind.kind}`, permission] as const];
      }),
    ),
  );
}

const shown = ({ organisation: _, ...letter }: DeadLetter) => letter;

const by = ({ token }: Asked): string => `token:${token!.id}:${token!.name}`;

async function letterOf({ deadLetters }: Gateway, asked: Asked, id: string): Promise<DeadLetter> {
  const letter = await deadLetters.get(id);
  return letter !== undefined && letter.organisation === asked.organisation!.id
    ? letter
    : fail(new NotFound({ detail: "There is no such dead letter." }));
}

async function projections({ log, postgres }: Gateway) {
  const rows = await ask(() => listCheckpoints(postgres));
  const contexts = [...new Set(rows.map(({ context }) => context))];
  const heads = new Map(await Promise.all(contexts.map(async (name) => [name, await log.head(name)] as const)));
  return rows.map(({ name, context, build, version, state, shown, seq, stoppedReason, updatedAt }) => {
    const head = Math.max(seq, heads.get(context)!);
    return {
      name,
      context,
      build,
      version,
      state,
      shown,
      seq,
      head,
      lag: head - seq,
      ...(stoppedReason === null ? {} : { stoppedReason }),
      updatedAt: updatedAt.toISOString(),
    };
  });
}

export const systemRoutes = (gateway: Gateway) =>
  HttpApiBuilder.group(Api, "system", (handlers) =>
    handlers
      .handle("auditLog", audit(gateway))
      .handle("search", search(gateway, readPermissions()))
      .handle(
        "listDeadLetters",
        handle(gateway, async ({ query }, asked) => {
          const letters = await gateway.deadLetters.list({ ...query, organisation: asked.organisation!.id });
          return json({ items: letters.map(shown) });
        }),
      )
      .handle(
        "retryDeadLetter",
        handle(gateway, async ({ params }, asked) => {
          const { id } = await letterOf(gateway, asked, params.id);
          const answer = await gateway.deadLetters.retry(id, by(asked));
          if (answer.outcome === "not-found") return fail(new NotFound({ detail: "It is there no more." }));
          return json("letter" in answer ? { ...answer, letter: shown(answer.letter) } : answer);
        }),
      )
      .handle(
        "dropDeadLetter",
        handle(gateway, async ({ params, query }, asked) => {
          const { id } = await letterOf(gateway, asked, params.id);
          await gateway.deadLetters.drop(id, by(asked), query.why);
          return HttpServerResponse.empty({ status: 204 });
        }),
      )
      .handle(
        "listProjections",
        handle(gateway, async () => json({ items: await projections(gateway) })),
      )
      .handle(
        "rotateMasterKey",
        handle(gateway, async () => {
          const { rewrapped, current, failed } = await gateway.sealing.rotateMasterKey();
          const first = failed.slice(0, 100).map((failure) => ({
            organisation: failure.organisation,
            subject: failure.subject,
            reason:
              failure._tag === "MasterKeyUnknown"
                ? "It is wrapped by a master key that this gateway does not have: add that one below the others."
                : "Its record was changed or damaged: restore the bucket KEYS from a backup.",
          }));
          return json({ rewrapped, current, failed: first, failures: failed.length });
        }),
      )
      .handle(
        "getBackups",
        handle(gateway, async () => json(await (await BackupBoard.open(gateway.log.nats)).read())),
      )
      .handle(
        "makeBackup",
        handle(gateway, async (_, asked) => {
          const board = await BackupBoard.open(gateway.log.nats);
          const status = await board.read();
          if (status.target === undefined)
            return fail(
              new Refused({
                detail: "This installation makes no backups.",
                rule: "no-backup-target",
                reason: "No place for backups is set.",
                fix: "Set MILLRACE_BACKUP_TARGET for the orchestrator (docs/guides/backup.md).",
              }),
            );
          await board.ask(by(asked));
          return json(status, { status: 202 });
        }),
      )
      .handle(
        "rebuildProjection",
        handle(gateway, async ({ params }) => {
          const builds = await ask(() => requestRebuild(gateway.postgres, params.name));
          if (builds.length === 0) return fail(new NotFound({ detail: "There is no such projection." }));
          return json({ builds }, { status: 202 });
        }),
      ),
  );
