/**
 * A network of its own for each application. Its subnet is chosen here: the engine's own pools are used up after about
 * thirty networks. A /27 holds the twelve instances of a release beside those of the one that it replaces.
 */
import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import { networkInterfaces } from "node:os";
import type Dockerode from "dockerode";
import type { Connection } from "./docker-engine.ts";
import { DockerFailed, refusedBy, saidBy, statusOf } from "./docker-failures.ts";
import { isOurs, label } from "./docker-labels.ts";
import { networkName } from "./docker-names.ts";
import { overlaps, parseRoutes, subnetAt } from "./subnets.ts";

export async function ensureNetwork(connection: Connection, application: string): Promise<string> {
  const name = networkName(application);
  const { count } = connection.subnets;
  // Begin where the application's id points to, so that two that are created at once seldom meet.
  const start = createHash("sha256").update(application).digest().readUInt32BE(0) % count;
  const taken = new Set<string>();
  for (let tried = 0; tried < count; tried++) {
    const there = await find(connection, name);
    if (there) return name;
    if (tried === 0) for (const subnet of await takenSubnets(connection)) taken.add(subnet);
    const subnet = subnetAt(connection.subnets, (start + tried) % count);
    if ([...taken].some((other) => overlaps(subnet, other))) continue;
    const outcome = await create(connection, application, name, subnet);
    if (outcome === "overlaps") continue;
    await dropDuplicates(connection, name);
    return name;
  }
  throw new DockerFailed({
    class: "permanent",
    code: "NO_SUBNET",
    reason: `No subnet is free among the ${count} of the range for applications' networks.`,
    fix: "Set MILLRACE_DOCKER_SUBNETS to a larger range, or delete applications that are not needed.",
  });
}

export async function removeNetwork(connection: Connection, application: string): Promise<boolean> {
  const name = networkName(application);
  const there = await find(connection, name);
  if (!there) return false;
  return connection.call(`remove network ${name}`, async (docker) => {
    try {
      await docker.getNetwork(there.Id).remove();
      return true;
    } catch (error) {
      if (statusOf(error) === 404) return false;
      if (statusOf(error) !== 403) throw error;
      throw new DockerFailed({
        class: "transient",
        code: "DOCKER_REFUSED",
        reason: `The network ${name} still has containers.`,
        fix: "Remove the application's containers first.",
        cause: error,
      });
    }
  });
}

/** The network of that name; the oldest, when two were created in the same moment. @throws DockerFailed NAME_TAKEN */
async function find(connection: Connection, name: string): Promise<Dockerode.NetworkInspectInfo | undefined> {
  const [first] = await named(connection, name);
  if (!first || isOurs(connection, first.Labels)) return first;
  throw new DockerFailed({
    class: "permanent",
    code: "NAME_TAKEN",
    reason: `There is a network ${name} that this node did not create.`,
    fix: `Look at it (docker network inspect ${name}) and remove it if nobody needs it.`,
  });
}

async function named(connection: Connection, name: string): Promise<Dockerode.NetworkInspectInfo[]> {
  const found = await connection.call("list networks", (docker) =>
    docker.listNetworks({ filters: { name: [`^${name}$`] } }),
  );
  // The engine's filter finds parts of names, too.
  return found
    .filter((network) => network.Name === name)
    .sort((one, other) => (one.Created + one.Id < other.Created + other.Id ? -1 : 1));
}

/**
 * The engine does not look at the machine's own addresses and routes: a subnet that covers one of them would cut the
 * machine off from what lies there.
 */
async function takenSubnets(connection: Connection): Promise<string[]> {
  const networks = await connection.call("list networks", (docker) => docker.listNetworks());
  const theirs = networks.flatMap((network) => network.IPAM?.Config?.map(({ Subnet }) => Subnet) ?? []);
  const machine = Object.values(networkInterfaces()).flatMap((addresses) =>
    (addresses ?? []).filter(({ family }) => family === "IPv4").map(({ cidr }) => cidr),
  );
  return [...theirs, ...machine, ...routed()].filter(
    (subnet) => subnet != null && /^[\d.]+\/\d+$/.test(subnet),
  ) as string[];
}

/** Where Linux says so, what is routed, also over an interface that is down (another engine's empty network). */
function routed(): string[] {
  try {
    return parseRoutes(readFileSync("/proc/net/route", "latin1"));
  } catch {
    return [];
  }
}

async function create(
  connection: Connection,
  application: string,
  name: string,
  subnet: string,
): Promise<"created" | "overlaps"> {
  try {
    await connection.calls.createNetwork({
      Name: name,
      CheckDuplicate: true,
      Driver: "bridge",
      IPAM: { Driver: "default", Config: [{ Subnet: subnet }] },
      Labels: { [label.scope]: connection.scope, [label.application]: application },
    });
    return "created";
  } catch (error) {
    if (statusOf(error) === 409) return "created"; // by another, this moment
    if (statusOf(error) !== undefined && /overlap|conflicts with network|already in use/i.test(saidBy(error)))
      return "overlaps";
    throw refusedBy(error, `create network ${name}`);
  }
}

/** The engine's own check for duplicates can be passed by two at once. Both keep the oldest. */
async function dropDuplicates(connection: Connection, name: string): Promise<void> {
  const [, ...later] = await named(connection, name);
  for (const network of later) {
    if (!isOurs(connection, network.Labels)) continue;
    await connection.call(`remove network ${network.Id}`, (docker) =>
      docker
        .getNetwork(network.Id)
        .remove()
        .catch((error: unknown) => {
          if (statusOf(error) !== 404) throw error;
        }),
    );
  }
}
