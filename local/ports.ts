/** Ports on the loopback. */
import { randomInt } from "node:crypto";
import { createServer } from "node:net";

/** Whether a server could listen on this port now. */
export function isPortFree(port: number, host = "127.0.0.1"): Promise<boolean> {
  return new Promise((resolve) => {
    const server = createServer();
    server.once("error", () => resolve(false));
    server.listen({ port, host, exclusive: true }, () => server.close(() => resolve(true)));
  });
}

/**
 * A free port, below the range the kernel hands to outgoing connections (from 32768 on): otherwise a server that is
 * killed and started again could find its port taken by somebody's connection.
 * @param preferred is taken when it is free.
 */
export async function freePort(preferred?: number, host = "127.0.0.1"): Promise<number> {
  if (preferred && (await isPortFree(preferred, host))) return preferred;
  for (let tries = 0; tries < 200; tries++) {
    const port = randomInt(15_000, 32_000);
    if (await isPortFree(port, host)) return port;
  }
  throw new Error(`no free port found on ${host}`);
}
