/**
 * The ticket with which the gateway sends a request for bytes on to the service that holds them: who, for which organisation and
 * resource, what may be done, how many bytes, until when. Signed by a key that both derive from the master key, so that the holder
 * asks nobody, and good for the beginning of one request only.
 */
import { createHash, createHmac, timingSafeEqual } from "node:crypto";

export type BytesAct =
  | "reserve"
  | "offset"
  | "append"
  | "read"
  | "remove"
  /** What its node has on its disk that backups take: list, and read. */
  | "files"
  /** Of builds: objects; which of them are missing; what a commit lacks; what differs. */
  | "upload"
  | "missing"
  | "check"
  | "review";

export interface Ticket {
  /** Id of the token that asked. */
  readonly subject: string;
  readonly organisation: string;
  /** Id of the upload. */
  readonly resource: string;
  readonly act: BytesAct;
  /** The holder's node. */
  readonly node: string;
  /** Of the request's body, or of what is reserved. */
  readonly maxBytes: number;
  /** Milliseconds since 1970. */
  readonly until: number;
}

/** How long after it was made a ticket is taken, in milliseconds: clocks of machines may differ by less. */
export const TICKET_MS = 60_000;
const LONGEST = 2_048;

export const ticketKeyOf = (masterKey: Uint8Array): Uint8Array =>
  createHash("sha256").update("millrace tickets for bytes\n").update(masterKey).digest();

const signatureOf = (key: Uint8Array, body: string): Buffer => createHmac("sha256", key).update(body).digest();

export function writeTicket(key: Uint8Array, ticket: Ticket): string {
  const body = Buffer.from(JSON.stringify(ticket)).toString("base64url");
  return `${body}.${signatureOf(key, body).toString("base64url")}`;
}

/**
 * @param keys today's and those of before
 * @returns undefined for what was not signed, was changed, or is over
 */
export function readTicket(keys: ReadonlyArray<Uint8Array>, text: string, now: number): Ticket | undefined {
  if (text.length > LONGEST) return undefined;
  const [body, signature, ...rest] = text.split(".");
  if (body === undefined || signature === undefined || rest.length > 0) return undefined;
  const given = Buffer.from(signature, "base64url");
  const good = keys.some((key) => {
    const own = signatureOf(key, body);
    return own.length === given.length && timingSafeEqual(own, given);
  });
  if (!good) return undefined;
  const ticket = JSON.parse(Buffer.from(body, "base64url").toString("utf8")) as Ticket;
  return ticket.until > now && ticket.until <= now + 2 * TICKET_MS ? ticket : undefined;
}
