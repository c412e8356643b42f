/**
 * Why a client asks for objects which a delta brings (docs/decisions): it writes the commit of the superblock, walks it, and asks for what it
 * does not have yet, while the delta's parts are still on their way. Shown by holding back the one or the other, with nothing written
 * meanwhile.
 */
import assert from "node:assert/strict";
import { createReadStream, existsSync, statSync, writeFileSync } from "node:fs";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { join } from "node:path";
import { closure } from "@millrace/publisher/adapters/ostree/closure.ts";
import { generateKey, withSigner } from "@millrace/publisher/adapters/ostree/keys.ts";
import { buildUpdateRepo, generateDelta, signCommits } from "@millrace/publisher/adapters/ostree/tools.ts";
import { APP, flatpakWorld, newClient } from "../harness/flatpak-world.ts";
import { testPublishing } from "../harness/publishing.ts";
import { suite } from "../harness/suite.ts";

const test = suite("a delta and what it brings", { timeoutMs: 600_000 });
const LATE_MS = 2_000;

test("what comes later is asked for one by one, though a whole delta is there", async (context) => {
  const publishing = await testPublishing(context);
  const { tools } = publishing;
  const repository = await publishing.repository("served");
  const world = flatpakWorld(publishing);
  const key = await generateKey(tools, "Test <test@example.org>");
  /** Clients see it, signed. */
  const announce = () =>
    withSigner(tools, [key], async (signer) => {
      const commits = [...(await repository.refs()).values()];
      await signCommits(tools, repository.root, commits, signer);
      await buildUpdateRepo(tools, repository.root, { signer });
    });

  let isLate = (_path: string): boolean => false;
  let asked: string[] = [];
  const server = createServer((request, response) => {
    const path = decodeURIComponent(new URL(request.url!, "http://x").pathname);
    asked.push(path);
    const file = join(repository.root, path);
    const answer = () => {
      if (!existsSync(file) || !statSync(file).isFile()) return void response.writeHead(404).end();
      response.writeHead(200, { "content-length": statSync(file).size });
      createReadStream(file).pipe(response);
    };
    if (isLate(path)) setTimeout(answer, LATE_MS);
    else answer();
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  context.defer(() => server.close().closeAllConnections());
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}/`;

  await world.runtime(repository);
  const first = await world.app(repository, "one");
  await announce();
  const clients = [await newClient(publishing, "late-part"), await newClient(publishing, "late-objects")];
  const file = join(publishing.folder, "key.gpg");
  writeFileSync(file, key.publicKey);
  for (const client of clients) {
    await client.flatpak("remote-add", `--gpg-import=${file}`, "stable", url);
    await client.flatpak("install", "stable", APP);
  }
  const second = await world.app(repository, "two");
  await announce();
  await generateDelta(tools, repository.root, { from: first, to: second });
  await announce();

  // From here on nothing is written: everything that is asked for is there, and stays as it is.
  const before = await closure(repository, first);
  const brought = [...(await closure(repository, second))].filter((name) => !before.has(name));
  const pulled = async (at: number, late: (path: string) => boolean): Promise<string[]> => {
    [isLate, asked] = [late, []];
    await clients[at]!.flatpak("update", APP);
    assert.equal(await clients[at]!.flatpak("run", APP), "two\n");
    assert.ok(
      asked.some((path) => /^\/deltas\/.*\/superblock$/.test(path)),
      "the delta was not used",
    );
    assert.ok(
      asked.some((path) => /^\/deltas\/.*\/0$/.test(path)),
      "its part was not asked for",
    );
    return brought.filter((name) => asked.includes(`/objects/${name.slice(0, 2)}/${name.slice(2)}`));
  };
  const files = (names: readonly string[]) => names.filter((name) => name.endsWith(".filez"));
  const partLate = await pulled(0, (path) => path.startsWith("/deltas/") && !path.endsWith("/superblock"));
  assert.equal(files(partLate).length, files(brought).length, `asked for beside the delta: ${partLate.join(" ")}`);
  const objectsLate = await pulled(1, (path) => path.startsWith("/objects/"));
  assert.deepEqual(files(objectsLate), []);
});

test.run();
