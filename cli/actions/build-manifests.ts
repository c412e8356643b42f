/** Builds from manifests. */
import { usage } from "../failure.ts";
import { bodyOf, gatewayOf, pathOf } from "../gateway.ts";
import { OPERATIONS } from "../operations.ts";
import { save } from "../save.ts";
import type { AnyCall } from "../table.ts";
import { uploadPath } from "../upload.ts";
import { credentialsOf } from "./applications-spec.ts";
import { printBuild } from "./builds.ts";
import { logsOfBuild, readLogs } from "./logs.ts";

interface Run {
  readonly manifest?: string | undefined;
  readonly git?: string | undefined;
  readonly ref?: string | undefined;
  readonly "token-secret"?: string | undefined;
  readonly "key-secret"?: string | undefined;
  readonly upload?: string | undefined;
  readonly arch?: string | undefined;
  readonly branch?: string | undefined;
  readonly needs?: string | undefined;
  readonly twice?: boolean | undefined;
  readonly subset?: string | undefined;
  readonly app?: string | undefined;
  readonly priority?: number | undefined;
}
interface Reading {
  readonly follow?: boolean | undefined;
  readonly grep?: string | undefined;
  readonly limit?: number | undefined;
}

export async function runBuild(
  call: AnyCall & { readonly flags: Run; readonly args: { readonly repository: string } },
): Promise<void> {
  const { manifest, git, ref, upload, arch, branch, needs, twice, subset, app, priority } = call.flags;
  if (manifest === undefined) throw usage("which manifest?", "--manifest org.example.App.yml");
  if ((git === undefined) === (upload === undefined)) throw usage("from where?", "--git URL, or --upload PATH");
  const credentials = credentialsOf(call.flags);
  if (credentials !== undefined && git === undefined) throw usage("a secret goes with --git");
  const gateway = gatewayOf(call);
  const from =
    upload === undefined
      ? {
          git: {
            url: git!,
            ...(ref === undefined ? {} : { ref }),
            ...(credentials === undefined ? {} : { credentials }),
          },
        }
      : { upload: await uploadPath(gateway, call.io, upload, undefined) };
  const payload = {
    repository: call.args.repository,
    source: {
      type: "manifest" as const,
      manifest,
      ...from,
      ...(arch === undefined ? {} : { arches: arch.split(",") }),
      ...(branch === undefined ? {} : { branch }),
      ...(needs === undefined ? {} : { needs: needs.split(",") }),
      ...(twice ? { twice } : {}),
      ...(subset === undefined ? {} : { subsets: subset.split(",") }),
    },
    ...(app === undefined ? {} : { appId: app }),
    ...(priority === undefined ? {} : { priority }),
  };
  await printBuild(call, await gateway.call("createBuild", { payload }));
}

export async function buildLogs(
  call: AnyCall & { readonly flags: Reading; readonly args: { readonly build: string } },
): Promise<number> {
  const { follow, grep, limit } = call.flags;
  const path = logsOfBuild(call.args.build);
  return readLogs(call, { path, query: grep === undefined ? {} : { q: grep } }, { follow, limit });
}

interface Fetching {
  readonly arch?: string | undefined;
  readonly to?: string | undefined;
}

export async function artefacts(
  call: AnyCall & { readonly flags: Fetching; readonly args: { readonly build: string } },
): Promise<void> {
  const { io, flags, args } = call;
  const gateway = gatewayOf(call);
  const { status } = await gateway.call("getBuild", { params: { id: args.build } });
  const kept = status.failure?.artefacts ?? [];
  const arch = flags.arch ?? (kept.length === 1 ? kept[0]!.arch : undefined);
  if (arch === undefined && kept.length > 1) {
    throw usage("of which architecture?", `--arch, one of ${kept.map((each) => each.arch).join(", ")}`);
  }
  const { method, path } = OPERATIONS.artefactsOfBuild;
  const answer = await gateway.raw({
    method,
    path: pathOf(path, { org: await gateway.org(), id: args.build }, { arch }),
    headers: { accept: "*/*" },
  });
  if (answer.status !== 200 || answer.bytes === undefined) return void bodyOf(answer);
  await save(io, flags.to ?? `build-${status.number}-${arch}.tar.gz`, answer.bytes);
}
