/** What a container takes of the machine, by the engine's own count. */
import type { ContainerUse } from "./docker.ts";
import type { Connection } from "./docker-engine.ts";

/** As far as it is read of the engine's answer. */
interface Stats {
  readonly read: string;
  readonly cpu_stats?: { readonly cpu_usage?: { readonly total_usage?: number } };
  readonly memory_stats?: {
    readonly usage?: number;
    readonly stats?: { readonly inactive_file?: number; readonly total_inactive_file?: number };
  };
  readonly networks?: Readonly<Record<string, { readonly rx_bytes: number; readonly tx_bytes: number }>>;
}

export async function containerUse(connection: Connection, id: string): Promise<ContainerUse> {
  const stats = (await connection.call("look at what a container takes", (docker) => {
    const container = docker.getContainer(id) as unknown as { stats(options: object): Promise<unknown> };
    return container.stats({ stream: false, "one-shot": true });
  })) as Stats;
  const { usage = 0, stats: kept } = stats.memory_stats ?? {};
  const networks = Object.values(stats.networks ?? {});
  return {
    atMs: Date.parse(stats.read) || Date.now(),
    cpuSeconds: (stats.cpu_stats?.cpu_usage?.total_usage ?? 0) / 1e9,
    // What the kernel would give back at once is not counted, as `docker stats` does it.
    memoryBytes: Math.max(0, usage - (kept?.inactive_file ?? kept?.total_inactive_file ?? 0)),
    receivedBytes: networks.reduce((sum, { rx_bytes }) => sum + rx_bytes, 0),
    transmittedBytes: networks.reduce((sum, { tx_bytes }) => sum + tx_bytes, 0),
  };
}
