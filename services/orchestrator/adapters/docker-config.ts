/** What a container is created with: no privileges, no mounts, no more than asked. */
import { createHash } from "node:crypto";
import type Dockerode from "dockerode";
import type { ContainerSpec, HealthCheckedBy, HealthSpec } from "./docker.ts";
import { label } from "./docker-labels.ts";
import { containerName, networkName } from "./docker-names.ts";

/**
 * What an image that begins as root needs to become another user and to own its files, as most published images do.
 * A container with a user of its own gets none.
 */
const changeUser = ["CHOWN", "DAC_OVERRIDE", "FOWNER", "KILL", "SETGID", "SETUID"];

/** Raised when what follows from a spec changes: containers of an older version are replaced by the reconciler. */
const configVersion = 1;

/** A hash of all that a spec says. Whoever may read the label may read the environment as well, so it gives nothing away. */
export function configHash(spec: ContainerSpec): string {
  const { env, command, health, ...rest } = spec;
  const parts = [configVersion, entries(rest), entries(env), command ?? null, entries(health)];
  return createHash("sha256").update(JSON.stringify(parts)).digest("hex");
}

function entries(of: object): unknown[] {
  return Object.entries(of)
    .filter(([, value]) => value !== undefined)
    .sort(([one], [other]) => (one < other ? -1 : 1));
}

/** How the engine checks a container: the tool, its path in the image, and which way it is asked. */
export interface Check {
  readonly by: HealthCheckedBy;
  readonly path?: string;
}

export function createOptions(
  scope: string,
  spec: ContainerSpec,
  hostPort: number,
  check: Check,
): Dockerode.ContainerCreateOptions {
  const port = `${spec.port}/tcp`;
  return {
    name: containerName(spec.application, spec.deployment, spec.slot),
    Image: spec.imageId,
    ...(spec.command ? { Cmd: [...spec.command] } : {}),
    ...(spec.user ? { User: spec.user } : {}),
    Env: Object.entries({ PORT: String(spec.port), ...spec.env }).map(([name, value]) => `${name}=${value}`),
    Labels: {
      [label.scope]: scope,
      [label.application]: spec.application,
      [label.deployment]: spec.deployment,
      [label.slot]: String(spec.slot),
      [label.config]: configHash(spec),
      [label.checkedBy]: check.by,
    },
    ExposedPorts: { [port]: {} },
    StopSignal: "SIGTERM",
    StopTimeout: Math.ceil(spec.stopTimeoutMs / 1000),
    Healthcheck: healthcheck(spec, check),
    HostConfig: hostConfig(spec, port, hostPort),
  };
}

function hostConfig(spec: ContainerSpec, port: string, hostPort: number): Dockerode.HostConfig {
  return {
    NetworkMode: networkName(spec.application),
    PortBindings: { [port]: [{ HostIp: "127.0.0.1", HostPort: String(hostPort) }] },
    // Not "unless-stopped": an engine that was killed counts those that outlived it as stopped by hand when it is back.
    RestartPolicy: { Name: "always" },
    Memory: spec.memoryBytes,
    MemorySwap: spec.memoryBytes, // the sum of both: no swap
    NanoCpus: Math.round(spec.cpus * 1e9),
    PidsLimit: spec.processes,
    Privileged: false,
    CapDrop: ["ALL"],
    CapAdd: spec.user ? [] : changeUser,
    SecurityOpt: ["no-new-privileges"],
    LogConfig: { Type: "json-file", Config: { "max-size": "10m", "max-file": "3" } },
    ...(spec.readOnly ? { ReadonlyRootfs: true, Tmpfs: { "/tmp": "rw,nosuid,nodev,noexec,size=64m" } } : {}),
  };
}

/** The engine runs a check inside the container, so it can only use what the image holds. */
function healthcheck(spec: ContainerSpec, check: Check): Dockerode.HealthConfig {
  const { health } = spec;
  if (check.by === "none") return { Test: ["NONE"] };
  const timing = {
    Interval: Math.max(1, health.intervalMs) * 1e6,
    Timeout: Math.max(1, health.timeoutMs) * 1e6,
    StartPeriod: (health.startPeriodMs ?? 10_000) * 1e6,
    Retries: health.retries,
  };
  if (check.by === "image") return { Test: [], ...timing };
  return { Test: ["CMD", check.path!, ...argumentsFor(check.by, spec.port, health)], ...timing };
}

function argumentsFor(by: "wget" | "curl" | "node" | "python3", port: number, health: HealthSpec): string[] {
  const url = `http://127.0.0.1:${port}${health.path}`;
  const seconds = Math.max(1, Math.ceil(health.timeoutMs / 1000));
  switch (by) {
    case "wget":
      // No -T: Debian's static busybox dies of it. The engine ends a check that takes too long.
      return ["-q", "-O", "/dev/null", url];
    case "curl":
      return ["-fsS", "-m", String(seconds), "-o", "/dev/null", url];
    case "node":
      return [
        "-e",
        `require("http").get(process.argv[1],a=>{console.log(a.statusCode);process.exit(a.statusCode<400?0:1)}).on("error",e=>{console.log(e.message);process.exit(1)})`,
        url,
      ];
    case "python3":
      return ["-c", "import sys,urllib.request as u;print(u.urlopen(sys.argv[1]).status)", url];
  }
}
