/** Where a device is reached, and the socket to it: plain, or TLS with a certificate that is pinned by its fingerprint. */
import { connect as connectPlain, isIP, type Socket } from "node:net";
import { connect as connectTls, type TLSSocket } from "node:tls";
import { DeviceFailure, failure, failureOf, printable } from "./failures.ts";

export interface Address {
  /** An IP address, or a name of the local network. */
  readonly host: string;
  /** Default 80, or 443. A device behind a range extender has a port of its parent. */
  readonly port?: number;
  /** Remembered for each device: firmware from 1.8 on may serve nothing but HTTPS. */
  readonly scheme: "http" | "https";
  /** SHA-256 of its certificate, 64 hex digits; missing: whatever comes first is taken, and told. */
  readonly pin?: string;
}

const HOST = /^[A-Za-z0-9]([A-Za-z0-9.-]{0,252})$/;

export const isHost = (text: string): boolean => isIP(text) !== 0 || HOST.test(text);

export const portOf = ({ port, scheme }: Address): number => port ?? (scheme === "https" ? 443 : 80);

/** `http://192.168.1.7`, without the usual port. */
export function originOf(address: Address): string {
  const { host, port, scheme } = address;
  return `${scheme}://${isIP(host) === 6 ? `[${host}]` : host}${port === undefined ? "" : `:${port}`}`;
}

export interface Connecting {
  readonly address: Address;
  readonly timeoutMs: number;
  readonly signal?: AbortSignal;
  /** A certificate was seen for the first time. */
  readonly onPin?: (fingerprint: string) => void;
}

/** Devices hold keys of 2048 bits or P-256, and know no more than TLS 1.2 in part. */
const TLS = { rejectUnauthorized: false, minVersion: "TLSv1.2" } as const;

/**
 * A connected socket; with TLS only one whose certificate is the pinned one: until then nothing was sent on it. Who signed it does not
 * matter, for devices come with certificates of their maker's own authority, or with one made at home.
 * @throws DeviceFailure unreachable, timeout, certificate-changed
 */
export function connect({ address, timeoutMs, signal, onPin }: Connecting): Promise<Socket> {
  return new Promise((resolve, reject) => {
    if (!isHost(address.host)) return reject(failure("unreachable", "The address is none."));
    const to = { host: address.host, port: portOf(address), autoSelectFamily: false };
    const secure = address.scheme === "https";
    const socket: Socket = secure ? connectTls({ ...to, ...TLS, ...nameOf(address.host) }) : connectPlain(to);
    const timer = setTimeout(() => end(failure("timeout", "No connection until the deadline.")), timeoutMs);
    const onAbort = () => end(failure("not-sent", "It was called off."));
    const end = (error: Error | undefined) => {
      clearTimeout(timer);
      signal?.removeEventListener("abort", onAbort);
      socket.removeListener("error", onError);
      if (error === undefined) return resolve(socket);
      socket.on("error", () => {}).destroy();
      reject(error);
    };
    const onError = (error: Error) => end(failureOf(error, false));
    socket.once("error", onError);
    signal?.addEventListener("abort", onAbort);
    if (signal?.aborted) return onAbort();
    socket.setNoDelay(true);
    socket.once(secure ? "secureConnect" : "connect", () =>
      end(secure ? certificateFault(socket as TLSSocket, address.pin, onPin) : undefined),
    );
  });
}

const nameOf = (host: string) => (isIP(host) === 0 ? { servername: host } : {});

function certificateFault(socket: TLSSocket, pin: string | undefined, onPin: Connecting["onPin"]): Error | undefined {
  const fingerprint = socket.getPeerCertificate().fingerprint256?.replaceAll(":", "").toLowerCase();
  if (fingerprint === undefined) return failure("certificate-changed", "It shows no certificate.");
  if (pin === undefined) onPin?.(fingerprint);
  else if (pin.toLowerCase() !== fingerprint) {
    return failure("certificate-changed", "Its certificate is not the one that was pinned.", { fingerprint });
  }
  return undefined;
}

/** What a redirection means. Nobody is followed to another host; on the same one HTTPS may be all that is served. */
export function sentAway(address: Address, code: number, location: string | string[] | undefined): DeviceFailure {
  const to = URL.parse(String(location ?? ""), originOf(address));
  if (to?.protocol === "https:" && to.hostname.replace(/^\[|\]$/g, "") === address.host && address.scheme === "http") {
    return failure("redirected", "It serves nothing but HTTPS.", { code, again: { when: "after", ms: 0 }, cause: to });
  }
  return failure("redirected", `It sends us to ${printable(to?.origin ?? "nowhere").slice(0, 100)}.`, { code });
}

/** Where the device is to be asked from now on, when it answered that it speaks HTTPS alone. */
export function movedToHttps({ host, pin }: Address, error: unknown): Address | undefined {
  if (!(error instanceof DeviceFailure) || error.kind !== "redirected" || !(error.cause instanceof URL))
    return undefined;
  const port = error.cause.port === "" ? {} : { port: Number(error.cause.port) };
  return { host, scheme: "https", ...port, ...(pin === undefined ? {} : { pin }) };
}
