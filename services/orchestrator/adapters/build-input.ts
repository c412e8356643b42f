/** What a built image depends on, as one hash: equal hash, equal image. */
import { createHash } from "node:crypto";
import type { BaseImage } from "./docker.ts";

export interface BuildInput {
  /** Git's id of the tree (the whole repository's, or of the context's folder). */
  readonly tree: string;
  /** Relative to the repository. */
  readonly dockerfile: string;
  readonly context: string;
  readonly args: Readonly<Record<string, string>>;
  readonly bases: ReadonlyArray<BaseImage>;
}

/** Raised when the way of building changes what comes out. */
const builder = 1;

/** 64 hexadecimal digits. Independent of the order of arguments and base images. */
export function inputHash(input: BuildInput): string {
  const args = Object.entries(input.args).sort(([one], [other]) => (one < other ? -1 : 1));
  const bases = input.bases.map(({ name, id }) => [name, id] as const).sort(([one], [other]) => (one < other ? -1 : 1));
  const parts = [builder, input.tree, input.dockerfile, input.context, args, bases];
  return createHash("sha256").update(JSON.stringify(parts)).digest("hex");
}
