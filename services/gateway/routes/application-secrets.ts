/**
 * Who names a secret in an application can have its value shown by it, and who says where its source is can have the credentials
 * sent there. So to name one that the application does not name already, in the same place, takes the permission for secrets: for all
 * of them, or for this one.
 */
import { Forbidden } from "@millrace/contracts/problems.ts";
import { type Asked, mayAlso } from "../asked.ts";
import { fail } from "../failures.ts";

const PERMISSION = "identity:secrets";

/** Any part of an application's spec. */
export interface NamesSecrets {
  readonly source?:
    | { readonly url?: string; readonly credentials?: { readonly secret: string } | undefined }
    | object
    | undefined;
  readonly runtime?:
    | { readonly env?: Readonly<Record<string, string | { readonly secret: string }>> | undefined }
    | undefined;
}

interface Named {
  /** Where it is sent: to the repository's URL; undefined: to the application itself. */
  readonly to: string | undefined;
  readonly secret: string;
}

function secretsNamed({ source, runtime }: NamesSecrets): Named[] {
  const { url, credentials } = (source ?? {}) as {
    readonly url?: string;
    readonly credentials?: { readonly secret: string };
  };
  const values = Object.values(runtime?.env ?? {});
  return [
    ...(credentials === undefined ? [] : [{ to: url ?? "", secret: credentials.secret }]),
    ...values.flatMap((value) => (typeof value === "string" ? [] : [{ to: undefined, secret: value.secret }])),
  ];
}

export const namesSecrets = (spec: NamesSecrets): boolean => secretsNamed(spec).length > 0;

/**
 * @param own what the application is now, if it is there
 * @throws Failed (forbidden)
 */
export function mayName(asked: Asked, asks: NamesSecrets, own: NamesSecrets = {}): void {
  const known = secretsNamed(own);
  for (const { to, secret } of secretsNamed(asks)) {
    if (known.some((one) => one.secret === secret && one.to === to)) continue;
    if (mayAlso(asked, PERMISSION, secret)) continue;
    const how = to === undefined ? "which an application can show" : "which is sent to the source's URL";
    fail(
      new Forbidden({
        permission: PERMISSION,
        detail: `It names the secret ${secret}, ${how}: that takes the permission ${PERMISSION}.`,
        fix: `Use a token that holds it, for all secrets or as ${PERMISSION}@${secret} for this one.`,
      }),
    );
  }
}
