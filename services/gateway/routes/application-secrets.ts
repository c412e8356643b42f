/**
 * Who names a secret in an application can have its value shown by it. So to name one that the application does not name
 * already takes the permission for secrets: for all of them, or for this one.
 */
import { allows } from "@millrace/contracts/permissions.ts";
import { Forbidden } from "@millrace/contracts/problems.ts";
import type { Asked } from "../asked.ts";
import { fail } from "../failures.ts";

const PERMISSION = "identity:secrets";

/** Any part of an application's spec. */
export interface NamesSecrets {
  readonly source?: { readonly credentials?: { readonly secret: string } | undefined } | object | undefined;
  readonly runtime?:
    | { readonly env?: Readonly<Record<string, string | { readonly secret: string }>> | undefined }
    | undefined;
}

/** Ids of all secrets that it names. */
export function secretsNamed({ source, runtime }: NamesSecrets): Set<string> {
  const { credentials } = (source ?? {}) as { readonly credentials?: { readonly secret: string } };
  const values = Object.values(runtime?.env ?? {});
  return new Set([
    ...(credentials === undefined ? [] : [credentials.secret]),
    ...values.flatMap((value) => (typeof value === "string" ? [] : [value.secret])),
  ]);
}

/**
 * @param known what the application names already
 * @throws Failed (forbidden)
 */
export function mayName({ token, organisation }: Asked, named: Iterable<string>, known: ReadonlySet<string>): void {
  for (const id of named) {
    if (known.has(id) || allows(token?.grants ?? [], PERMISSION, [organisation!.id, id])) continue;
    fail(
      new Forbidden({
        permission: PERMISSION,
        detail: `It names the secret ${id}, which an application can show: that takes the permission ${PERMISSION}.`,
        fix: `Use a token that holds it, for all secrets or as ${PERMISSION}@${id} for this one.`,
      }),
    );
  }
}
