/** For the tests of this adapter: specs, contexts, requests. */
import { mkdirSync, symlinkSync, writeFileSync } from "node:fs";
import { connect, createServer, type Socket } from "node:net";
import { dirname, join } from "node:path";
import { setTimeout as pause } from "node:timers/promises";
import { testFolder } from "../../../tests/harness/servers.ts";
import { deferToEndOfFile } from "../../../tests/harness/suite.ts";
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

export interface CuttingProxy {
  /** `unix:///…` */
  readonly endpoint: string;
  /** Cuts what is open. */
  cut(): void;
  /** From now on, each connection is cut after so many bytes of answers. */
  cutAfter(bytes: number): void;
}

/** Stands before an engine and cuts connections, as a restart or a network does. */
export async function cuttingProxy(endpoint: string): Promise<CuttingProxy> {
  const path = join(testFolder("proxy"), "sock");
  const open = new Set<Socket>();
  let limit = Number.POSITIVE_INFINITY;
  const server = createServer((client) => {
    const engine = connect(new URL(endpoint).pathname);
    let bytes = 0;
    open.add(client);
    client.pipe(engine);
    engine.on("data", (data) => {
      bytes += data.length;
      if (bytes <= limit) client.write(data);
      else client.destroy();
    });
    engine.once("end", () => client.end());
    for (const [one, other] of [
      [client, engine],
      [engine, client],
    ] as const) {
      one.on("error", () => {});
      one.once("close", () => {
        open.delete(one);
        other.destroy();
      });
    }
  });
  await new Promise<void>((resolve) => server.listen(path, resolve));
  deferToEndOfFile(() => {
    for (const socket of open) socket.destroy();
    server.close();
  });
  return {
    endpoint: `unix://${path}`,
    cut: () => {
      for (const socket of open) socket.destroy();
    },
    cutAfter: (value) => {
      limit = value;
    },
  };
}

/** Polls until it is so. @throws Error after the deadline. */
export async function until(what: string, done: () => boolean | Promise<boolean>, ms = 20_000): Promise<void> {
  const deadline = Date.now() + ms;
  while (!(await done())) {
    if (Date.now() > deadline) throw new Error(`never: ${what}`);
    await pause(50);
  }
}
