/** A gateway in a process of its own, whose memory can be looked at: configuration comes as a message, and so do questions. */
import { startGateway } from "@millrace/gateway/start.ts";

declare const gc: () => void;

process.on("message", async (message: { start?: Parameters<typeof startGateway>[0]; heap?: true }) => {
  if (message.start !== undefined) {
    const { url } = await startGateway(message.start);
    process.send!({ url });
  }
  if (message.heap) {
    gc();
    process.send!({ heap: process.memoryUsage().heapUsed });
  }
});
