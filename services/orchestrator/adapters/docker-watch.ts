/**
 * The engine's events, as hints. It keeps the last 256 for those who come late, so a reader that was away may have
 * missed some: after each connect, `list` asks for a listing. Sent again are those of the last second before, because
 * the engine answers a moment before it subscribes.
 */
import type { Readable } from "node:stream";
import { setTimeout as pause } from "node:timers/promises";
import type { EngineHint } from "./docker.ts";
import type { Connection } from "./docker-engine.ts";
import { filterOf, label } from "./docker-labels.ts";
import { jsonLines } from "./json-lines.ts";

const actions = ["create", "start", "die", "destroy", "health_status", "oom"] as const;

interface Event {
  readonly Action?: string;
  readonly Actor?: { readonly ID?: string; readonly Attributes?: Readonly<Record<string, string>> };
}

export async function watch(
  connection: Connection,
  onHint: (hint: EngineHint) => void,
  signal: AbortSignal,
): Promise<void> {
  let waitMs = 100;
  while (!signal.aborted) {
    const from = Date.now();
    try {
      const stream = (await connection.streams.getEvents({
        since: Math.floor(from / 1000) - 1,
        // Health checks flood the stream with exec_create, exec_start and exec_die: only what is needed is asked for.
        filters: { type: ["container"], label: filterOf(connection), event: [...actions] },
        abortSignal: signal,
      } as unknown as { since: number })) as Readable;
      onHint({ hint: "list" });
      for await (const event of jsonLines(stream)) {
        const hint = hintOf(event as Event);
        if (hint) onHint(hint);
      }
    } catch {
      // Away, restarting, or cut: connected again below, and listed anew.
    }
    if (signal.aborted) return;
    waitMs = Date.now() - from > 10_000 ? 100 : Math.min(5_000, waitMs * 2);
    await pause(waitMs * (0.75 + Math.random() / 2), undefined, { signal }).catch(() => {});
  }
}

function hintOf(event: Event): EngineHint | undefined {
  const attributes = event.Actor?.Attributes ?? {};
  const [name, detail] = (event.Action ?? "").split(": ");
  const action = actions.find((one) => one === name);
  const application = attributes[label.application];
  if (!action || !event.Actor?.ID || application === undefined) return undefined;
  return {
    hint: "container",
    id: event.Actor.ID,
    name: attributes.name ?? "",
    application,
    deployment: attributes[label.deployment] ?? "",
    action,
    ...(action === "die" ? { exitCode: Number(attributes.exitCode ?? -1) } : {}),
    ...(detail === "healthy" || detail === "unhealthy" ? { health: detail } : {}),
  };
}
