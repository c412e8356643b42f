/** An authority of a test's own and certificates by it, written out in DER (RFC 5280) from keys that are made here. */
import { generateKeyPairSync, type KeyObject, randomBytes, sign } from "node:crypto";
import { isIPv4 } from "node:net";

export interface Issued {
  /** PEM */
  readonly cert: string;
  /** PEM, PKCS #8 */
  readonly key: string;
}

export interface Authority {
  /** PEM of the authority's own certificate. */
  readonly cert: string;
  /** @param names DNS names and IPv4 addresses that it is good for */
  issue(names: ReadonlyArray<string>, days?: number): Issued;
}

const der = (tag: number, ...parts: ReadonlyArray<Uint8Array>): Buffer => {
  const content = Buffer.concat(parts);
  const { length } = content;
  const long = length < 0x80 ? [length] : length < 0x100 ? [0x81, length] : [0x82, length >> 8, length & 0xff];
  return Buffer.concat([Buffer.from([tag, ...long]), content]);
};
const sequence = (...parts: ReadonlyArray<Uint8Array>) => der(0x30, ...parts);
const octets = (content: Uint8Array) => der(0x04, content);
const bits = (content: Uint8Array) => der(0x03, Buffer.from([0]), content);
const oid = (hex: string) => der(0x06, Buffer.from(hex, "hex"));
const yes = der(0x01, Buffer.from([0xff]));

const ECDSA_SHA256 = sequence(oid("2a8648ce3d040302"));
const COMMON_NAME = oid("550403");
const BASIC_CONSTRAINTS = oid("551d13");
const ALTERNATIVE_NAMES = oid("551d11");

const nameOf = (text: string) => sequence(der(0x31, sequence(COMMON_NAME, der(0x0c, Buffer.from(text)))));
const timeOf = (ms: number) => der(0x18, Buffer.from(`${new Date(ms).toISOString().replaceAll(/[-:T]|\.\d+/g, "")}`));
const pem = (content: Uint8Array): string =>
  `-----BEGIN CERTIFICATE-----\n${Buffer.from(content)
    .toString("base64")
    .replaceAll(/.{64}(?=.)/g, "$&\n")}\n-----END CERTIFICATE-----\n`;

const DAY_MS = 86_400_000;

function certificate(
  subject: { readonly name: string; readonly key: KeyObject; readonly extension: Uint8Array; readonly days: number },
  issuer: { readonly name: string; readonly key: KeyObject },
): string {
  const from = Date.now() - 2 * DAY_MS;
  const body = sequence(
    der(0xa0, der(0x02, Buffer.from([2]))),
    der(0x02, Buffer.concat([Buffer.from([1]), randomBytes(8)])),
    ECDSA_SHA256,
    nameOf(issuer.name),
    sequence(timeOf(from), timeOf(Date.now() + subject.days * DAY_MS)),
    nameOf(subject.name),
    subject.key.export({ type: "spki", format: "der" }),
    der(0xa3, sequence(subject.extension)),
  );
  return pem(sequence(body, ECDSA_SHA256, bits(sign("sha256", body, issuer.key))));
}

const pair = () => generateKeyPairSync("ec", { namedCurve: "P-256" });

export function makeAuthority(name = "Authority of a test"): Authority {
  const { privateKey, publicKey } = pair();
  const isAuthority = sequence(BASIC_CONSTRAINTS, yes, octets(sequence(yes)));
  const issuer = { name, key: privateKey };
  return {
    cert: certificate({ name, key: publicKey, extension: isAuthority, days: 10 }, issuer),
    issue(names, days = 5) {
      const own = pair();
      const all = names.map((one) =>
        isIPv4(one) ? der(0x87, Buffer.from(one.split(".").map(Number))) : der(0x82, Buffer.from(one)),
      );
      const extension = sequence(ALTERNATIVE_NAMES, octets(sequence(...all)));
      const key = own.privateKey.export({ type: "pkcs8", format: "pem" }).toString();
      const cert = certificate({ name: names[0]!, key: own.publicKey, extension, days }, issuer);
      return { cert, key };
    },
  };
}
