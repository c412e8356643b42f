/** Images: found by tag, given a second tag, removed. */
import type Dockerode from "dockerode";
import type { Image } from "./docker.ts";
import type { Connection } from "./docker-engine.ts";
import { statusOf } from "./docker-failures.ts";
import { imagePrefix, inputOf, label } from "./docker-labels.ts";

export async function findImage(connection: Connection, tag: string, inputHash: string): Promise<Image | undefined> {
  const there = await inspect(connection, tag);
  if (!there || inputOf(connection, there.Config.Labels) !== inputHash) return undefined;
  return { id: there.Id, tag, inputHash };
}

export async function retagImage(
  connection: Connection,
  application: string,
  inputHash: string,
  tag: string,
): Promise<Image | undefined> {
  // Only one with a tag is whole: a killed build may leave an image with the labels and without the rest.
  const whole = (await ours(connection, application)).find(
    (image) => inputOf(connection, image.Labels) === inputHash && tagsOf(image).length > 0,
  );
  if (!whole) return undefined;
  await connection.call(`tag image ${whole.Id}`, async (docker) => {
    const at = tag.lastIndexOf(":");
    try {
      await docker.getImage(whole.Id).tag({ repo: tag.slice(0, at), tag: tag.slice(at + 1) });
    } catch (error) {
      if (statusOf(error) !== 404) throw error; // removed meanwhile: it is built anew
    }
  });
  return findImage(connection, tag, inputHash);
}

export async function removeImage(connection: Connection, tag: string): Promise<boolean> {
  const there = await inspect(connection, tag);
  if (!there || inputOf(connection, there.Config.Labels) === undefined) return false;
  return (await drop(connection, tag)) === "removed";
}

export async function pruneImages(
  connection: Connection,
  application: string,
  keep: ReadonlyArray<string>,
): Promise<number> {
  let removed = 0;
  for (const image of await ours(connection, application)) {
    const tags = tagsOf(image);
    // By tag, so that an image that a kept deployment shares stays; one without any is removed by its id.
    const names = tags.length > 0 ? tags.filter((tag) => !keep.includes(tag)) : [image.Id];
    for (const name of names) if ((await drop(connection, name)) === "removed") removed++;
  }
  return removed;
}

async function ours(connection: Connection, application: string): Promise<Dockerode.ImageInfo[]> {
  const all = await connection.call("list images", (docker) =>
    docker.listImages({ filters: { label: [label.image] } }),
  );
  return all.filter(({ Labels }) => Labels?.[label.image]?.startsWith(imagePrefix(connection, application)));
}

function tagsOf(image: Dockerode.ImageInfo): string[] {
  return (image.RepoTags ?? []).filter((tag) => tag !== "<none>:<none>");
}

/** `in use`: by a container, or as a layer of another image; the next round finds it again. */
async function drop(connection: Connection, name: string): Promise<"removed" | "absent" | "in use"> {
  return connection.call(`remove image ${name}`, async (docker) => {
    try {
      await docker.getImage(name).remove();
      return "removed";
    } catch (error) {
      if (statusOf(error) === 404) return "absent";
      if (statusOf(error) === 409) return "in use";
      throw error;
    }
  });
}

async function inspect(connection: Connection, name: string): Promise<Dockerode.ImageInspectInfo | undefined> {
  return connection.call(`inspect image ${name}`, async (docker) => {
    try {
      return await docker.getImage(name).inspect();
    } catch (error) {
      if (statusOf(error) === 404) return undefined;
      throw error;
    }
  });
}
