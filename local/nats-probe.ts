/**
 * Asks a NATS server whether it is ready, in the plain text protocol, so that this package needs no client library:
 * connect, authenticate, and ask JetStream for its account information (in a cluster that needs an elected leader).
 */
import { connect } from "node:net";

export interface NatsProbe {
  readonly host: string;
  readonly port: number;
  readonly user: string;
  readonly password: string;
  /** How long to try, in milliseconds. */
  readonly timeoutMs: number;
  /** Answers something as soon as there is no sense in trying on (the server has ended). */
  readonly stop?: () => unknown;
}

/**
 * Resolves when the server answers and JetStream is there for this user.
 * @throws Error naming what was wrong last, when the time is over, the server ended, or refused the password.
 */
export async function probeNats(probe: NatsProbe): Promise<void> {
  const deadline = Date.now() + probe.timeoutMs;
  let last = "no answer";
  while (Date.now() < deadline) {
    if (probe.stop?.()) throw new Error(`the NATS server ended while starting (${last})`);
    const answer = await ask(probe, Math.min(2000, Math.max(100, deadline - Date.now())));
    if (answer === "ready") return;
    last = answer;
    // The account is in the configuration, so a refusal will not go away (something else listens on the port?).
    if (last.includes("Authorization Violation")) break;
    await new Promise((resolve) => setTimeout(resolve, 25));
  }
  throw new Error(`the NATS server on ${probe.host}:${probe.port} is not ready: ${last}`);
}

function ask(probe: NatsProbe, timeoutMs: number): Promise<string> {
  return new Promise((resolve) => {
    const socket = connect({ host: probe.host, port: probe.port });
    const finish = (answer: string) => {
      clearTimeout(timer);
      socket.destroy();
      resolve(answer);
    };
    const timer = setTimeout(() => finish("no answer in time"), timeoutMs);
    let received = "";
    let greeted = false;
    socket.on("error", (error) => finish(error.message));
    socket.on("close", () => finish("connection closed"));
    socket.on("data", (chunk) => {
      received += chunk.toString("utf8");
      if (!greeted && received.startsWith("INFO ") && received.includes("\r\n")) {
        greeted = true;
        const info = JSON.parse(received.slice(5, received.indexOf("\r\n"))) as { jetstream?: boolean };
        if (!info.jetstream) return finish("JetStream is not enabled");
        const who = {
          user: probe.user,
          pass: probe.password,
          verbose: false,
          pedantic: false,
          protocol: 1,
          headers: true,
        };
        const inbox = `_INBOX.ready${process.pid}`;
        socket.write(`CONNECT ${JSON.stringify(who)}\r\nSUB ${inbox} 1\r\nPUB $JS.API.INFO ${inbox} 0\r\n\r\nPING\r\n`);
      }
      if (received.includes("-ERR")) return finish(received.slice(received.indexOf("-ERR")).split("\r\n")[0]!);
      const message = /\r\nMSG [^\r]*\r\n(\{[^\r]*\})\r\n/.exec(received);
      if (!message) return;
      const error = (JSON.parse(message[1]!) as { error?: { description?: string } }).error;
      finish(error ? (error.description ?? "JetStream answered an error") : "ready");
    });
  });
}
