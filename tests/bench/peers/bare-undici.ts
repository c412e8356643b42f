/** Posts bodies to an address, sixteen at once over kept connections, and nothing else. Arguments: address, how many, bytes of a body. */
import { Agent } from "undici";

const [url = "", count = "0", bytes = "0"] = process.argv.slice(2);
const agent = new Agent({ connections: 16, pipelining: 1, allowH2: false });
const body = JSON.stringify({ data: "x".repeat(Number(bytes)) });
let left = Number(count);
await Promise.all(
  Array.from({ length: 16 }, async () => {
    while (left-- > 0) {
      const headers = { "content-type": "application/json" };
      const answer = await agent.request({ origin: url, path: "/", method: "POST", headers, body });
      await answer.body.dump();
    }
  }),
);
await agent.close();
