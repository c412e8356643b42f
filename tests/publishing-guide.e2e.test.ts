/** What docs/guides/publishing.md shows is done as it stands there, by `mill` and by the real `flatpak`; addresses, ids and tokens are the test's. */
import assert from "node:assert/strict";
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { EventLog } from "@millrace/eventlog/eventlog.ts";
import { armored, generateKey, withSigner } from "@millrace/publisher/adapters/ostree/keys.ts";
import { buildUpdateRepo } from "@millrace/publisher/adapters/ostree/tools.ts";
import { Publishers } from "./faults/deaths-of-builds.ts";
import { eventually } from "./harness/eventually.ts";
import { flatpakWorld, newClient } from "./harness/flatpak-world.ts";
import { callerOf, testGateway, testProjector } from "./harness/gateway.ts";
import { CHECKOUT, testMill } from "./harness/mill.ts";
import { testPublishing } from "./harness/publishing.ts";
import { publishDeveloped } from "./harness/pushes.ts";
import { testFolder, testNats } from "./harness/servers.ts";
import { serveFolders, serveRepositories } from "./harness/serving.ts";
import { suite } from "./harness/suite.ts";

const test = suite("the guide of publishing", { timeoutMs: 240_000 });
const REF = "app/org.example.Hello/x86_64/stable";
const THEIRS = "https://flatpak.example.org/repo/";

/** Words of a command, as a shell has them. */
const wordsOf = (line: string): string[] =>
  [...line.replace(/\s+#.*$/, "").matchAll(/"([^"]*)"|'([^']*)'|(\S+)/g)].map(
    ([, one, two, three]) => one ?? two ?? three!,
  );

test("every command of docs/guides/publishing.md does what the text says", async (context) => {
  const publishing = await testPublishing(context);
  const nats = await testNats();
  const allow = "127.0.0.0/8";
  const config = { natsUrl: nats.url, natsUser: nats.user, natsPassword: nats.pass, webhookAllow: allow };
  const gateway = await testGateway(config);
  await testProjector(gateway.config);
  const caller = callerOf(gateway);
  const { expect } = caller;
  const data = testFolder("publisher");
  const address = await serveRepositories(context, data, gateway.url);
  const connection = { url: nats.url, user: nats.user, password: nats.pass, name: "test", replicas: 1 } as const;
  const log = await EventLog.open(connection, ["publishing"]);
  context.defer(() => log.close());
  const env = { MILLRACE_REPOSITORIES_URL: address, MILLRACE_WEBHOOK_ALLOW: allow };
  const publishers = new Publishers({ gateway, caller, log, data, publishing, env }, []);
  publishers.start();
  context.defer(() => publishers.stop());

  // What others have, and is followed.
  const world = flatpakWorld(publishing);
  const upstream = await publishing.repository("upstream");
  const key = await generateKey(publishing.tools, "Other <other@example.org>");
  await world.runtime(upstream);
  const commit = await world.app(upstream, "one", { id: "org.example.Hello" });
  await withSigner(publishing.tools, [key], (signer) => buildUpdateRepo(publishing.tools, upstream.root, { signer }));
  const { url } = await serveFolders(context, { upstream: () => upstream.root });

  const folder = testFolder("publishing-guide");
  const keyFile = join(folder, "key.gpg");
  const flatpakrepo = join(folder, "example.flatpakrepo");
  const given = `[Flatpak Repo]\nTitle=Other\nUrl=${url}/upstream/\nGPGKey=${key.publicKey.toString("base64")}\n`;
  writeFileSync(flatpakrepo, given);

  const mill = testMill(context, { MILLRACE_URL: gateway.url, MILLRACE_TOKEN: gateway.owner, MILLRACE_ORG: "home" });
  const said: string[] = [];
  let clients = 0;
  const known = { id: "", token: "" };
  const run = async (line: string): Promise<string> => {
    const isMirror = line.includes("--mirror ");
    const words = wordsOf(
      line
        .replace(THEIRS, isMirror ? `${url}/upstream/` : `${address}/repo/`)
        .replace("https://user:<token>@flatpak.example.org", address.replace("//", `//user:${known.token}@`))
        .replace("<id of the repository>", known.id),
    ).map((word) => word.replace(/(^|=)key\.gpg$/, `$1${keyFile}`).replace(/^example\.flatpakrepo$/, flatpakrepo));
    const [program, ...args] = words;
    if (program === "mill") return mill.out(args);
    assert.equal(program, "flatpak", line);
    return (await newClient(publishing, `guide-${++clients}`)).flatpak(...args);
  };
  const status = async (name: string) => (await expect(200, "GET", `/repositories/${name}`)).body.status;
  const settled = (name: string) =>
    eventually(async () => (await status(name)).settled === true || undefined, publishers.said(), 60_000);
  /** What stands between the lines: what others do, and what is waited for. */
  const before: readonly (readonly [RegExp, () => Promise<unknown>])[] = [
    [
      /--subset=verified ours/,
      async () => {
        await settled("stable");
        const asked = { caller, repository: "stable", terms: { subsets: ["verified"] } };
        await publishDeveloped(asked, { from: upstream, ref: REF, commit });
        known.id = (await expect(200, "GET", "/repositories/stable")).body.id;
        const answer = await fetch(`${address}/repo/stable/key.gpg`);
        writeFileSync(keyFile, Buffer.from(await answer.arrayBuffer()));
      },
    ],
    [
      /--gpg-import=key.gpg/,
      async () => {
        known.token = /mr[a-z]_\S+/.exec(said.at(-1)!)![0];
        await settled("stable");
      },
    ],
    [/mill repos change hub/, async () => writeFileSync(keyFile, armored(key.publicKey))],
    [/mill repos prune-preview/, () => settled("stable")],
  ];

  const text = readFileSync(join(CHECKOUT, "docs/guides/publishing.md"), "utf8");
  const blocks = [...text.matchAll(/^```(?:sh|text)\n(.*?)^```/gms)].map((match) => match[1]!.trim());
  // Building is shown by a guide of its own, and by its tests.
  const lines = blocks.filter((block) => !block.includes("mill builds run")).flatMap((block) => block.split("\n"));
  assert.ok(lines.length > 12, `${lines.length}`);
  for (const line of lines) {
    for (const [when, act] of before) if (when.test(line)) await act();
    said.push(
      await run(line).catch((error: Error) => {
        throw new Error(`${line}\n${error.message}\n${publishers.said()}`);
      }),
    );
  }
  const of = (part: string): string => said[lines.findIndex((line) => line.includes(part))]!;
  assert.match(of("repos remote stable"), /flatpak remote-add/);
  assert.match(of("repos show hub"), /hub/);
  const followed = await eventually(
    async () => {
      const refs = (await expect(200, "GET", "/repositories/hub/contents")).body.refs as { ref: string }[];
      return refs.some(({ ref }) => ref === REF) || undefined;
    },
    `what is followed is here: ${publishers.said()}`,
    120_000,
  );
  assert.ok(followed);
  await eventually(async () => (await status("stable")).pruned !== undefined || undefined, "it was pruned", 60_000);
  assert.equal((await expect(200, "GET", "/repositories/stable")).body.spec.retention.depth, 5);
});

test.run();
