/** A target by its address. */
import type { Target } from "./target.ts";
import { folderTarget } from "./target-folder.ts";
import { type S3Credentials, s3Target } from "./target-s3.ts";

/**
 * @param where a folder (absolute, or `file:///…`), or `s3://bucket/prefix?endpoint=https://…&region=…`
 * @throws TypeError when it is neither, or the credentials for S3 are missing
 */
export function openTarget(where: string, credentials?: Partial<S3Credentials>): Target {
  if (where.startsWith("s3://")) return s3Target(where, credentials ?? {});
  if (where.startsWith("file://")) return folderTarget(decodeURIComponent(new URL(where).pathname));
  if (where.startsWith("/")) return folderTarget(where);
  throw new TypeError("a backup's target is a folder by its absolute path, or s3://bucket/prefix");
}
