/** Peer: the bare client, one request a message with the same headers as our appends. @nats-io/transport-node 3.4.0 */
import { headers, type NatsConnection } from "@nats-io/transport-node";

export const barePublish =
  (nc: NatsConnection) =>
  async (subject: string, data: Uint8Array, id: string, expected: number): Promise<number> => {
    const h = headers();
    h.set("Nats-Msg-Id", id);
    h.set("Nats-Expected-Last-Subject-Sequence", String(expected));
    const answer = JSON.parse((await nc.request(subject, data, { headers: h, timeout: 10_000 })).string());
    if (answer.error) throw new Error(answer.error.description);
    return answer.seq;
  };
