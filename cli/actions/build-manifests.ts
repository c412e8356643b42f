/** Builds from manifests. */
import { usage } from "../failure.ts";
import { gatewayOf } from "../gateway.ts";
import type { AnyCall } from "../table.ts";
import { uploadPath } from "../upload.ts";
import { printBuild } from "./builds.ts";
import { readLogs } from "./logs.ts";

interface Run {
  readonly manifest?: string | undefined;
  readonly git?: string | undefined;
  readonly ref?: string | undefined;
  readonly upload?: string | undefined;
  readonly arch?: string | undefined;
  readonly branch?: string | undefined;
  readonly needs?: string | undefined;
  readonly twice?: boolean | undefined;
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
  const { manifest, git, ref, upload, arch, branch, needs, twice, app, priority } = call.flags;
  if (manifest === undefined) throw usage("which manifest?", "--manifest org.example.App.yml");
  if ((git === undefined) === (upload === undefined)) throw usage("from where?", "--git URL, or --upload PATH");
  const gateway = gatewayOf(call);
  const from =
    upload === undefined
      ? { git: { url: git!, ...(ref === undefined ? {} : { ref }) } }
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
  const path = (org: string) =>
    `/v1/organisations/${encodeURIComponent(org)}/builds/${encodeURIComponent(call.args.build)}/logs`;
  return readLogs(call, { path, query: grep === undefined ? {} : { q: grep } }, { follow, limit });
}
