/** For the tests of this adapter: specs, contexts, requests. */
import { mkdirSync, symlinkSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { testFolder } from "../../../tests/harness/servers.ts";
import { type BuildRequest, type ContainerSpec, type DockerFailed, imageTag } from "./docker.ts";

let number = 0;

/** An id such as `app_01…`, unique in the process and, by its time, among processes. */
export function freshId(prefix: "app" | "dep"): string {
  return `${prefix}_${process.pid.toString(36)}${Date.now().toString(36)}${(number++).toString(36).padStart(3, "0")}`;
}

/** A folder with these files; a value `-> target` makes a symbolic link. */
export function contextOf(files: Readonly<Record<string, string>>): string {
  const folder = testFolder("context");
  for (const [name, text] of Object.entries(files)) {
    mkdirSync(dirname(join(folder, name)), { recursive: true });
    if (text.startsWith("-> ")) symlinkSync(text.slice(3), join(folder, name));
    else writeFileSync(join(folder, name), text);
  }
  return folder;
}

export function requestFor(
  folder: string,
  more: Partial<BuildRequest> & { readonly lines?: string[] } = {},
): BuildRequest {
  const application = more.application ?? freshId("app");
  const { lines = [], ...rest } = more;
  return {
    application,
    tag: imageTag(application, freshId("dep")),
    inputHash: "0".repeat(64),
    folder,
    dockerfile: "Dockerfile",
    limits: { timeoutMs: 60_000, contextBytes: 10 << 20 },
    signal: new AbortController().signal,
    onLine: (line) => void lines.push(line),
    ...rest,
  };
}

export function specFor(imageId: string, more: Partial<ContainerSpec> = {}): ContainerSpec {
  return {
    application: freshId("app"),
    deployment: freshId("dep"),
    slot: 0,
    imageId,
    port: 8080,
    env: {},
    memoryBytes: 64 << 20,
    cpus: 0.5,
    processes: 32,
    stopTimeoutMs: 1_000,
    health: { path: "/", intervalMs: 500, timeoutMs: 1_000, retries: 2, startPeriodMs: 0 },
    ...more,
  };
}

/** The failure of a promise that should fail. */
export async function failureOf(promise: Promise<unknown>): Promise<DockerFailed> {
  try {
    await promise;
  } catch (error) {
    if ((error as { _tag?: string })._tag === "DockerFailed") return error as DockerFailed;
    throw error;
  }
  throw new Error("it did not fail");
}
