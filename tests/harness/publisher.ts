/** Publishers for a test file: processes of their own, so that they can be killed; and what developers push to them. */
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import type { GatewayConfig } from "@millrace/gateway/config.ts";
import { closure } from "@millrace/publisher/adapters/ostree/closure.ts";
import type { Repository } from "@millrace/publisher/adapters/ostree/repository.ts";
import type { TestPublishing } from "./publishing.ts";
import { deferToEndOfFile } from "./suite.ts";

export interface TestPublisher {
  readonly child: ChildProcess;
  readonly ended: Promise<string | number | null>;
  said(): string;
}

/** @param env beside what leads it to the log and its folder */
export function spawnPublisher(
  config: Pick<GatewayConfig, "natsUrl" | "natsUser" | "natsPassword" | "masterKey">,
  data: string,
  env: Readonly<Record<string, string>>,
): TestPublisher {
  const main = fileURLToPath(new URL("../../services/publisher/main.ts", import.meta.url));
  const child = spawn(process.execPath, [main], {
    stdio: ["ignore", "pipe", "pipe"],
    env: {
      ...process.env,
      MILLRACE_NATS_URL: config.natsUrl,
      MILLRACE_NATS_USER: config.natsUser ?? "",
      MILLRACE_NATS_PASSWORD: config.natsPassword ?? "",
      MILLRACE_DATA: data,
      MILLRACE_MASTER_KEY: config.masterKey,
      MILLRACE_LEASE_SECONDS: "2",
      MILLRACE_HEALTH_PORT: "0",
      ...env,
    },
  });
  let said = "";
  for (const stream of [child.stdout, child.stderr]) {
    stream.on("data", (piece: Buffer) => {
      said = (said + piece.toString()).slice(-20_000);
    });
  }
  deferToEndOfFile(() => child.kill("SIGKILL"));
  const ended = once(child, "exit").then(([code, signal]) => (signal ?? code) as string | number | null);
  return { child, ended, said: () => said };
}

export interface Developed {
  readonly from: Repository;
  readonly ref: string;
  readonly commit: string;
}

/** What a developer has: a repository with one commit of an application. */
export async function develop(
  publishing: TestPublishing,
  version: string,
  { app = "org.test.Hello", shared = "", context = "", timestamp = "" } = {},
): Promise<Developed> {
  const from = await publishing.repository(`dev-${app}-${version}`);
  const ref = `app/${app}/x86_64/stable`;
  const tree = join(publishing.folder, `tree-${app}-${version}`);
  mkdirSync(join(tree, "files"), { recursive: true });
  mkdirSync(join(tree, "export"), { recursive: true });
  const metadata = `[Application]\nname=${app}\nruntime=org.test.Platform/x86_64/1\n${context}`;
  writeFileSync(join(tree, "metadata"), metadata);
  writeFileSync(join(tree, "files/version"), version);
  writeFileSync(join(tree, "files/data"), `the same of all ${shared}`);
  const more = [`--add-metadata-string=xa.metadata=${metadata}`, `--add-metadata-string=xa.ref=${ref}`];
  if (timestamp !== "") more.push(`--timestamp=${timestamp}`);
  return { from, ref, commit: await publishing.commit(from, tree, ref, more) };
}

/** Names of all that a commit needs, metadata last. */
export const namesOf = async ({ from, commit }: Developed): Promise<string[]> =>
  [...(await closure(from, commit))].sort((a, b) => Number(b.endsWith("filez")) - Number(a.endsWith("filez")));

export const BOUNDARY = "0123456789abcdef";

/** A body of objects, as clients send it. */
export function bodyOfObjects({ from }: Pick<Developed, "from">, names: ReadonlyArray<string>): Buffer {
  const parts = names.flatMap((name) => [
    Buffer.from(
      `--${BOUNDARY}\r\nContent-Type: application/octet-stream\r\nContent-Disposition: attachment; filename="${name}"\r\n\r\n`,
    ),
    readFileSync(from.path(name)),
    Buffer.from("\r\n"),
  ]);
  return Buffer.concat([...parts, Buffer.from(`--${BOUNDARY}--\r\n`)]);
}
