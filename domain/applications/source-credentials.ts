/** What a Git repository is asked with where it is private: a secret of the organisation, by id. */
import { isUnencrypted } from "@millrace/contracts/applications/git.ts";
import { PATTERNS } from "@millrace/contracts/applications/values.ts";
import { isId } from "@millrace/contracts/ids.ts";
import { type Refusal, rule } from "../decider.ts";
import { type Faults, says } from "../faults.ts";

export interface SourceCredentials {
  readonly secret: string;
  readonly kind: "token" | "ssh-key";
  readonly user?: string | undefined;
}

export const secretId = says((value) => isId("sec", value), "the id of a secret, `sec_…`");
const credentialsUser = says((value) => PATTERNS.credentialsUser.test(value), "a user name");

/** @param place of the credentials: `/source/credentials` */
export function checkCredentials(
  faults: Faults,
  place: string,
  url: string,
  credentials: SourceCredentials | undefined,
): void {
  if (credentials === undefined) return;
  faults.check(`${place}/secret`, secretId, credentials.secret ?? "");
  faults.check(`${place}/user`, credentialsUser, credentials.user);
  const isWeb = /^https?:/i.test(url);
  if (credentials.kind === "token" && !isWeb) faults.add(`${place}/kind`, "a token goes with https, not ssh");
  if (credentials.kind === "ssh-key" && /^(https?|git):/i.test(url)) {
    faults.add(`${place}/kind`, "a key goes with ssh, not with http or git");
  }
}

export const credentialsInClear = (url: string, credentials: SourceCredentials | undefined): Refusal | undefined =>
  credentials !== undefined && isUnencrypted(url)
    ? rule(
        "credentials-in-clear",
        "The address is not encrypted, so the credentials could be read on the way.",
        "Use https or ssh, or leave the credentials out.",
      )
    : undefined;
