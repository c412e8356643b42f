/** What benchmarks of publishing share: the product with a publisher and the tools, a repository in it, a client of flat-manager's API. */
import { existsSync } from "node:fs";
import { join } from "node:path";
import { publishingPrograms } from "@millrace/local/flatpak.ts";
import { Repository } from "@millrace/publisher/adapters/ostree/repository.ts";
import { Tools } from "@millrace/publisher/adapters/ostree/tools.ts";
import { FlatClient } from "../flat-manager/client.ts";
import type { Bench } from "./servers.ts";
import { type Product, startProduct, startPublisherOf } from "./services.ts";

export interface Publishing {
  readonly product: Product;
  readonly tools: Tools;
  /** The publisher's. */
  readonly data: string;
  /** Its process. */
  readonly publisher: number;
  readonly client: FlatClient;
  /** A new repository, ready. @returns where it lies */
  repository(name: string): Promise<Repository>;
}

/** Undefined where there are no tools; the reason is printed. */
export async function startPublishing(bench: Bench): Promise<Publishing | undefined> {
  const programs = await publishingPrograms({ bring: true });
  if (!("env" in programs)) {
    console.log(`skipped: ${programs.why}`);
    return undefined;
  }
  const tools = await Tools.open({ env: programs.env, home: join(bench.folder, "home") });
  const product = await startProduct(bench, await bench.nats(), await bench.postgres());
  const data = join(bench.folder, "data");
  const publisher = await startPublisherOf(bench, product, data, programs.env);
  const client = new FlatClient(product.url, product.token, "rust");
  bench.defer(() => client.close());
  return {
    ...{ product, tools, data, publisher, client },
    async repository(name) {
      const asked = {
        method: "POST",
        headers: { authorization: `Bearer ${product.token}`, "content-type": "application/json" },
        body: JSON.stringify({ name }),
      };
      const url = `${product.url}/v1/organisations/home/repositories`;
      const made = await fetch(url, asked);
      if (made.status !== 201) throw new Error(`${made.status} ${await made.text()}`);
      const { id } = (await made.json()) as { id: string };
      const place = join(data, "publisher/local/repositories", id, "repo");
      const { headers } = asked;
      const ready = async () => {
        const answer = await fetch(`${url}/${id}`, { headers });
        const { status } = (await answer.json()) as { status: { state: string } };
        return status.state === "ready" && existsSync(join(place, "summary.idx"));
      };
      for (const deadline = Date.now() + 300_000; !(await ready()); ) {
        if (Date.now() > deadline) throw new Error(`the repository ${name} does not become ready`);
        await new Promise((resolve) => setTimeout(resolve, 50));
      }
      return Repository.open(place);
    },
  };
}

export async function seconds(act: () => Promise<unknown>): Promise<number> {
  const began = performance.now();
  await act();
  return (performance.now() - began) / 1_000;
}
