/** Sources of builds from manifests: what is named is looked up here, so that a publisher finds all of it in the build. */
import { NotFound, Refused } from "@millrace/contracts/problems.ts";
import type { AskManifest } from "@millrace/contracts/publishing/manifest-source.ts";
import { upload } from "@millrace/domain/applications/upload.ts";
import { type BuildState, build } from "@millrace/domain/publishing/build.ts";
import type { Asked } from "../asked.ts";
import { fail } from "../failures.ts";
import { type Gateway, loadOwn } from "../gateway.ts";
import { mayName } from "../routes/application-secrets.ts";

export type AskedSource = { readonly type: "upload" } | typeof AskManifest.Type;

export async function sourceOf(
  gateway: Gateway,
  asked: Asked,
  source: AskedSource = { type: "upload" },
): Promise<BuildState["source"]> {
  if (source.type === "upload") return source;
  const { git, upload: archive, ...rest } = source;
  for (const id of source.needs ?? []) await loadOwn(gateway, build, asked, id);
  if (git !== undefined) mayName(asked, { source: git });
  return {
    ...rest,
    ...(git === undefined ? {} : { git: { ...git, ref: git.ref ?? "HEAD" } }),
    ...(archive === undefined ? {} : { upload: await whole(gateway, asked, archive) }),
  };
}

/** An upload that has come to its end. */
async function whole(gateway: Gateway, asked: Asked, id: string) {
  const { state } = await loadOwn(gateway, upload, asked, id);
  if (state.state === "removed") fail(new NotFound({ detail: "There is no such upload." }));
  if (state.sha256 === null) {
    const reason = `Not all of the upload ${id} has arrived.`;
    fail(
      new Refused({ rule: "upload-incomplete", reason, detail: reason, fix: "Send the rest, then begin the build." }),
    );
  }
  return { id, sha256: state.sha256!, node: state.node };
}
