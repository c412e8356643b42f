/** Containers: created if absent, compared when there, started, listed, stopped, removed. */
import { createHash } from "node:crypto";
import { createServer } from "node:net";
import { setTimeout as pause } from "node:timers/promises";
import type Dockerode from "dockerode";
import type {
  Container,
  ContainerDetail,
  ContainerFilter,
  ContainerSpec,
  HealthCheckedBy,
  RunningContainer,
} from "./docker.ts";
import { checkFor, imageMissing } from "./docker-check.ts";
import { configHash, createOptions } from "./docker-config.ts";
import type { Connection } from "./docker-engine.ts";
import { DockerFailed, refusedBy, saidBy, statusOf } from "./docker-failures.ts";
import { filterOf, isOurs, label } from "./docker-labels.ts";
import { containerName } from "./docker-names.ts";
import { ensureNetwork } from "./docker-networks.ts";

const portTaken = /port is already allocated|address already in use/i;

/** How long another's container may take to appear under its name. */
const CREATING_MS = 10_000;

export async function ensureContainer(
  connection: Connection,
  spec: ContainerSpec,
): Promise<{ id: string; name: string; created: boolean }> {
  const name = containerName(spec.application, spec.deployment, spec.slot);
  // More than a few that stood in the way mean that somebody else is at it, too.
  let inTheWay = 0;
  for (const deadline = Date.now() + CREATING_MS; inTheWay < 4 && Date.now() < deadline; ) {
    const there = await look(connection, name);
    if (there) {
      inTheWay++;
      if (!isOurs(connection, there.Config.Labels)) throw nameTaken(name);
      if (there.Config.Labels[label.config] === configHash(spec) && there.Image === spec.imageId)
        return { id: there.Id, name, created: false };
      await remove(connection, there.Id);
    }
    const id = await create(connection, spec, []);
    if (id) return { id, name, created: true };
    // The name is another's from its first moment; the container can be seen when it is whole.
    await pause(50);
  }
  throw new DockerFailed({
    class: "transient",
    code: "DOCKER_REFUSED",
    reason: `The container ${name} was created by another again and again.`,
    fix: "See which other orchestrator works on this engine with the same scope.",
  });
}

export async function startContainer(connection: Connection, spec: ContainerSpec): Promise<RunningContainer> {
  const taken: number[] = [];
  for (let round = 0; round < 20; round++) {
    const { id, name } = await ensureContainer(connection, spec);
    const there = await look(connection, id);
    if (!there) continue; // removed in this moment
    const hostPort = boundPort(there)!;
    const outcome = await start(connection, id);
    if (outcome === "started") return { slot: spec.slot, id, name, address: `127.0.0.1:${hostPort}` };
    // Somebody took its port while it was not running: it is made again with another.
    if (outcome === "port taken") {
      taken.push(hostPort);
      await remove(connection, id);
      await create(connection, spec, taken);
    }
  }
  throw noPort(connection);
}

async function start(connection: Connection, id: string): Promise<"started" | "port taken" | "gone"> {
  return connection.call(`start container ${id.slice(0, 12)}`, async (docker) => {
    try {
      await docker.getContainer(id).start();
      return "started";
    } catch (error) {
      if (statusOf(error) === 304) return "started";
      if (portTaken.test(saidBy(error))) return "port taken";
      if (statusOf(error) === 409 && /paused/i.test(saidBy(error))) {
        await docker.getContainer(id).unpause(); // by somebody's hand
        return "started";
      }
      if (statusOf(error) === 404 && /no such container/i.test(saidBy(error))) return "gone";
      throw error;
    }
  });
}

/** @returns undefined when another has created it meanwhile. */
async function create(
  connection: Connection,
  spec: ContainerSpec,
  notPorts: ReadonlyArray<number>,
): Promise<string | undefined> {
  await ensureNetwork(connection, spec.application);
  try {
    const check = await checkFor(connection, spec);
    const hostPort = await freePort(connection, spec, notPorts);
    const { id } = await connection.calls.createContainer(createOptions(connection.scope, spec, hostPort, check));
    return id;
  } catch (error) {
    // What was meant for us, and what the look into the image threw for the same reason.
    const cause = error instanceof DockerFailed ? error.cause : error;
    if (statusOf(cause ?? {}) === 409) return undefined;
    if (statusOf(error) === 404 && /no such image/i.test(saidBy(error))) throw imageMissing(spec.imageId, error);
    throw refusedBy(error, `create a container of ${spec.application}`);
  }
}

/**
 * A host port that is the container's own for its life, so that a crash and restart by the engine does not move it (one
 * that the engine picks changes with each start). Chosen outside the range that the kernel gives to connections.
 */
async function freePort(connection: Connection, spec: ContainerSpec, not: ReadonlyArray<number>): Promise<number> {
  const { from, to } = connection.ports;
  const count = to - from + 1;
  const containers = await connection.call("list containers", (docker) => docker.listContainers({ all: true }));
  const taken = new Set([...not, ...containers.flatMap(({ Ports }) => Ports.map(({ PublicPort }) => PublicPort))]);
  const name = containerName(spec.application, spec.deployment, spec.slot);
  const first = createHash("sha256").update(name).digest().readUInt32BE(0) % count;
  for (let tried = 0; tried < count; tried++) {
    const port = from + ((first + tried) % count);
    if (!taken.has(port) && (await canListen(port))) return port;
  }
  throw noPort(connection);
}

function canListen(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const server = createServer();
    server.once("error", () => resolve(false));
    server.listen({ port, host: "127.0.0.1", exclusive: true }, () => server.close(() => resolve(true)));
  });
}

function noPort({ ports }: Connection): DockerFailed {
  return new DockerFailed({
    class: "transient",
    code: "NO_PORT",
    reason: `No port from ${ports.from} to ${ports.to} is free for a container.`,
    fix: "Free some, or set MILLRACE_DOCKER_PORTS to a larger range outside the kernel's own.",
  });
}

function nameTaken(name: string): DockerFailed {
  return new DockerFailed({
    class: "permanent",
    code: "NAME_TAKEN",
    reason: `There is a container ${name} that this node did not create.`,
    fix: `Look at it (docker inspect ${name}) and remove it if nobody needs it.`,
  });
}

export async function listContainers(connection: Connection, filter: ContainerFilter): Promise<Container[]> {
  const found = await connection.call("list containers", (docker) =>
    docker.listContainers({ all: true, filters: { label: filterOf(connection, filter) } }),
  );
  return found.map((info) => ({
    id: info.Id,
    name: info.Names[0]?.replace(/^\//, "") ?? "",
    ...ofLabels(info.Labels),
    imageId: info.ImageID,
    state: info.State as Container["state"],
    health: healthOf(/\((?:health: )?(starting|healthy|unhealthy)\)/.exec(info.Status)?.[1]),
    endedWith: endedWith(info.Status),
    address: addressOf(
      info.State === "running" ? info.Ports.find(({ PublicPort }) => PublicPort)?.PublicPort : undefined,
    ),
    createdAt: info.Created * 1000,
  }));
}

/** `Exited (137) 3 seconds ago` */
const endedWith = (status: string): number | undefined => {
  const [, code] = /^(?:Exited|Restarting) \((\d{1,3})\)/.exec(status) ?? [];
  return code === undefined ? undefined : Number(code);
};

export async function inspectContainer(connection: Connection, id: string): Promise<ContainerDetail | undefined> {
  const there = await look(connection, id);
  if (!there || !isOurs(connection, there.Config.Labels)) return undefined;
  const { State } = there;
  return {
    id: there.Id,
    name: there.Name.replace(/^\//, ""),
    ...ofLabels(there.Config.Labels),
    imageId: there.Image,
    state: State.Status as Container["state"],
    health: healthOf(State.Health?.Status),
    address: addressOf(State.Running ? boundPort(there) : undefined),
    createdAt: Date.parse(there.Created),
    checkedBy: (there.Config.Labels[label.checkedBy] ?? "none") as HealthCheckedBy,
    exitCode: State.ExitCode,
    oomKilled: State.OOMKilled,
    restarts: there.RestartCount,
    startedAt: State.StartedAt,
    lastCheck: State.Health?.Log?.at(-1)?.Output?.trim().slice(0, 1_000),
  };
}

function ofLabels(labels: Readonly<Record<string, string>>) {
  return {
    application: labels[label.application] ?? "",
    deployment: labels[label.deployment] ?? "",
    slot: Number(labels[label.slot] ?? -1),
    configHash: labels[label.config] ?? "",
  };
}

function healthOf(status: string | undefined): Container["health"] {
  return status === "starting" || status === "healthy" || status === "unhealthy" ? status : "none";
}

function addressOf(port: number | undefined): string | undefined {
  return port === undefined ? undefined : `127.0.0.1:${port}`;
}

/** The port that it was created with; so it is known before it runs, too. */
function boundPort(there: Dockerode.ContainerInspectInfo): number | undefined {
  const bindings = there.HostConfig.PortBindings as Record<string, Array<{ HostPort?: string }> | null> | undefined;
  const port = Object.values(bindings ?? {})[0]?.[0]?.HostPort;
  return port ? Number(port) : undefined;
}

export async function stopContainer(connection: Connection, id: string): Promise<boolean> {
  const there = await look(connection, id);
  if (!there || !isOurs(connection, there.Config.Labels)) return false;
  return stop(connection, there);
}

async function stop(connection: Connection, there: Dockerode.ContainerInspectInfo): Promise<boolean> {
  const seconds = (there.Config as { StopTimeout?: number }).StopTimeout ?? 10;
  try {
    // Longer than any other call, so on a connection of its own; bounded by its stop timeout and what Docker may add.
    await connection.streams
      .getContainer(there.Id)
      .stop({ t: seconds, abortSignal: AbortSignal.timeout((seconds + 30) * 1000) });
    return true;
  } catch (error) {
    if (statusOf(error) === 304 || statusOf(error) === 404) return false;
    throw refusedBy(error, `stop container ${there.Name}`);
  }
}

export async function removeContainer(
  connection: Connection,
  id: string,
  drained?: () => Promise<void>,
): Promise<boolean> {
  const there = await look(connection, id);
  if (!there || !isOurs(connection, there.Config.Labels)) return false;
  await stop(connection, there);
  if (drained) {
    // Its log goes with it. A reader that hangs must not keep it for ever.
    const limit = new AbortController();
    await Promise.race([drained(), pause(10_000, undefined, { signal: limit.signal }).catch(() => {})]).finally(() =>
      limit.abort(),
    );
  }
  return remove(connection, there.Id);
}

/** Only for what is ours. With `v`, the nameless volumes that an image's VOLUME made go, too. */
async function remove(connection: Connection, id: string): Promise<boolean> {
  return connection.call(`remove container ${id.slice(0, 12)}`, async (docker) => {
    try {
      await docker.getContainer(id).remove({ force: true, v: true });
      return true;
    } catch (error) {
      if (statusOf(error) === 404) return false;
      // "removal is already in progress": by another, or by us before a crash.
      if (statusOf(error) !== 409) throw error;
      await gone(docker, id);
      return true;
    }
  });
}

async function gone(docker: Dockerode, id: string): Promise<void> {
  const deadline = Date.now() + 20_000;
  while (Date.now() < deadline) {
    try {
      await docker.getContainer(id).inspect();
    } catch (error) {
      if (statusOf(error) === 404) return;
      throw error;
    }
    await pause(100);
  }
  throw new DockerFailed({
    class: "transient",
    code: "DOCKER_REFUSED",
    reason: `The engine is removing container ${id.slice(0, 12)} and does not end.`,
    fix: "Look at the engine's log (journalctl -u docker).",
  });
}

async function look(connection: Connection, id: string): Promise<Dockerode.ContainerInspectInfo | undefined> {
  return connection.call(`inspect container ${id}`, async (docker) => {
    try {
      return await docker.getContainer(id).inspect();
    } catch (error) {
      if (statusOf(error) === 404) return undefined;
      throw error;
    }
  });
}
