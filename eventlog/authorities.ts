/** Whose certificates are believed of receivers: those that Node brings, and what an operator adds. */
import { X509Certificate } from "node:crypto";
import { readFileSync } from "node:fs";
import { createSecureContext, getCACertificates, rootCertificates, type SecureContext } from "node:tls";
import { SettingsInvalid } from "./settings.ts";

const CERTIFICATE = /-----BEGIN CERTIFICATE-----[^-]+-----END CERTIFICATE-----/g;

/**
 * @param text as `MILLRACE_OUTGOING_CA` has it: `system`, or files in PEM, separated by commas
 * @returns undefined: Node's own are enough. Made once: reading some hundred certificates for each connection would be slow.
 * @throws SettingsInvalid
 */
export function authoritiesOf(text: string | undefined): SecureContext | undefined {
  const named = (text ?? "")
    .split(",")
    .map((one) => one.trim())
    .filter((one) => one !== "");
  if (named.length === 0) return undefined;
  const more = named.flatMap((one) => (one === "system" ? getCACertificates("system") : certificatesIn(one)));
  return createSecureContext({ ca: [...rootCertificates, ...more] });
}

function certificatesIn(path: string): string[] {
  const fault = (what: string) =>
    new SettingsInvalid([`MILLRACE_OUTGOING_CA: ${path} ${what}; give a file of certificates in PEM, or \`system\``]);
  let found: string[];
  try {
    found = readFileSync(path, "utf8").match(CERTIFICATE) ?? [];
  } catch (error) {
    throw fault(`cannot be read (${(error as NodeJS.ErrnoException).code})`);
  }
  if (found.length === 0) throw fault("holds no certificate");
  for (const one of found) {
    try {
      new X509Certificate(one);
    } catch {
      throw fault("holds a certificate that cannot be read");
    }
  }
  return found;
}
