/**
 * The form of tokens: `mrt_` (`mrp_` for the owner's first one, `mri_` for the secret of an invitation, `mrs_` for a subscriber's password), 40 random base 62 digits, and 6 that are the CRC-32
 * of those 40, so that a mistyped or cut-off token is told from a wrong one without asking anybody, and scanners
 * find leaked ones.
 */
const DIGITS = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
const FORM = /^(mrt|mrp|mri|mrs)_([0-9A-Za-z]{40})([0-9A-Za-z]{6})$/;

/** @param random gives that many random bytes; called again where bytes would make some digits likelier than others */
export function makeToken(prefix: "mrt" | "mrp" | "mri" | "mrs", random: (size: number) => Uint8Array): string {
  let digits = "";
  while (digits.length < 40) {
    for (const byte of random(40 - digits.length)) if (byte < 248) digits += DIGITS[byte % 62];
  }
  return `${prefix}_${digits}${checksum(digits)}`;
}

/** Whether the text has the form of a token, checksum included. Says nothing on whether it is valid. */
export const isToken = (text: string): boolean => /^mr[tp]_/.test(text) && isWellFormed(text);

/** The same for the secret of an invitation. */
export const isInvitationSecret = (text: string): boolean => text.startsWith("mri_") && isWellFormed(text);

/** The same for the password of a subscriber. */
export const isSubscriberSecret = (text: string): boolean => text.startsWith("mrs_") && isWellFormed(text);

function isWellFormed(text: string): boolean {
  const parts = FORM.exec(text);
  return parts !== null && checksum(parts[2]!) === parts[3];
}

function checksum(text: string): string {
  let rest = crc32(text);
  let digits = "";
  for (let i = 0; i < 6; i++, rest = Math.floor(rest / 62)) digits = DIGITS[rest % 62]! + digits;
  return digits;
}

const TABLE = Uint32Array.from({ length: 256 }, (_, byte) => {
  let value = byte;
  for (let bit = 0; bit < 8; bit++) value = value & 1 ? 0xedb88320 ^ (value >>> 1) : value >>> 1;
  return value;
});

/** CRC-32 as in gzip, of ASCII text. */
function crc32(text: string): number {
  let crc = 0xffffffff;
  for (let i = 0; i < text.length; i++) crc = TABLE[(crc ^ text.charCodeAt(i)) & 0xff]! ^ (crc >>> 8);
  return (crc ^ 0xffffffff) >>> 0;
}
