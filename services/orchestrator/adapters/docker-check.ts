/**
 * By which tool the engine can check a container. An image may hold no wget and no curl, or no shell at all; a check that
 * cannot run would call a sound application unhealthy, and one that says "well" without asking would lie. So the image
 * is looked at before: the first of the tools found wins; else the check that the image declares itself; else the engine
 * does not check, and only the orchestrator's own probe knows.
 */
import type Dockerode from "dockerode";
import type { ContainerSpec } from "./docker.ts";
import type { Check } from "./docker-config.ts";
import type { Connection } from "./docker-engine.ts";
import { DockerFailed, statusOf } from "./docker-failures.ts";
import { label } from "./docker-labels.ts";
import { containerName } from "./docker-names.ts";

const tools = ["wget", "curl", "node", "python3"] as const;
const usualFolders = ["/usr/local/bin", "/usr/bin", "/bin"];

/** @throws DockerFailed IMAGE_MISSING */
export async function checkFor(connection: Connection, spec: ContainerSpec): Promise<Check> {
  const known = connection.checks.get(spec.imageId);
  if (known) return JSON.parse(known) as Check;
  const image = await inspectImage(connection, spec.imageId);
  const found = (await findTool(connection, spec, image)) ?? { by: declares(image) ? "image" : "none" };
  if (connection.checks.size >= 1_000) connection.checks.clear();
  connection.checks.set(spec.imageId, JSON.stringify(found));
  return found as Check;
}

function declares(image: Dockerode.ImageInspectInfo): boolean {
  const test = image.Config.Healthcheck?.Test ?? [];
  return test.length > 0 && test[0] !== "NONE";
}

async function inspectImage(connection: Connection, id: string): Promise<Dockerode.ImageInspectInfo> {
  return connection.call(`inspect image ${id}`, async (docker) => {
    try {
      return await docker.getImage(id).inspect();
    } catch (error) {
      if (statusOf(error) === 404) throw imageMissing(id, error);
      throw error;
    }
  });
}

export function imageMissing(id: string, cause: unknown): DockerFailed {
  return new DockerFailed({
    class: "permanent",
    code: "IMAGE_MISSING",
    reason: `The image ${id} is not in the engine any more.`,
    fix: "Deploy again: it is built anew.",
    cause,
  });
}

/**
 * A file can be looked up in a container that never ran. It bears the name of the container to be, so that one left by a
 * crash is met, and replaced, by the next try.
 */
async function findTool(
  connection: Connection,
  spec: ContainerSpec,
  image: Dockerode.ImageInspectInfo,
): Promise<Check | undefined> {
  const name = containerName(spec.application, spec.deployment, spec.slot);
  const labels = { [label.scope]: connection.scope, [label.application]: spec.application, [label.config]: "look" };
  const path = image.Config.Env?.find((entry) => entry.startsWith("PATH="))?.slice("PATH=".length);
  const folders = [...new Set([...(path?.split(":") ?? []), ...usualFolders])].filter((one) => one.startsWith("/"));
  return connection.call(`look into image ${spec.imageId}`, async (docker) => {
    const container = await docker
      .createContainer({
        name,
        Image: spec.imageId,
        Cmd: ["-"],
        Labels: { ...labels, [label.deployment]: spec.deployment, [label.slot]: String(spec.slot) },
        NetworkDisabled: true,
        HostConfig: { NetworkMode: "none" },
      })
      .catch((error: unknown) => {
        if (statusOf(error) === 404) throw imageMissing(spec.imageId, error);
        throw error;
      });
    try {
      for (const by of tools) {
        for (const folder of folders.slice(0, 12)) {
          const there = await container.infoArchive({ path: `${folder}/${by}` }).then(
            () => true,
            (error: unknown) => {
              if (statusOf(error) === 404) return false;
              throw error;
            },
          );
          if (there) return { by, path: `${folder}/${by}` };
        }
      }
      return undefined;
    } finally {
      await container.remove({ force: true, v: true }).catch((error: unknown) => {
        if (statusOf(error) !== 404) throw error;
      });
    }
  });
}
