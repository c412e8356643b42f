/** Static sites, whose worker dies at places of every effect: the end is as if nothing had happened. */
import { rmSync } from "node:fs";
import { join } from "node:path";
import { application } from "@millrace/domain/applications/application.ts";
import * as assert from "uvu/assert";
import { eventually } from "../harness/eventually.ts";
import { type Grounds, openGrounds } from "../harness/orchestrator.ts";
import type { Suite } from "../harness/suite.ts";
import { assertOnce, dieAtEach, diskOf, HEAL_PLACES, placesOf, SITE_PLACES } from "./deaths.ts";

const isNoGeneration = (name: string) => !name.startsWith("/generation");
const files = (text: string) => ({ "index.html": text, "404.html": "none" });

/** A site that serves its first version. */
async function sitesLive(grounds: Grounds, ...names: ReadonlyArray<string>) {
  const worker = await grounds.start();
  const sites = await Promise.all(
    names.map(async (name) => {
      const path = grounds.repository(files("one"));
      const { id, host } = await grounds.site(name, path);
      const first = await grounds.deploy(id);
      await grounds.succeeds(first);
      return { id, host, path, first };
    }),
  );
  return { sites, worker };
}

/** Two repositories have other commits, and the same files. */
const withoutCommits = (paths: ReadonlyArray<string>): string[] =>
  paths.map((path) => path.replace(/^\/src\/[0-9a-f]{40}/, "/src/…")).sort();

export function sitesUnderDeaths(test: Suite): void {
  test("a deployment that succeeds", async () => {
    const grounds = await openGrounds({ node: "one" });
    const { sites, worker } = await sitesLive(grounds, "quiet", "deadly");
    const [quiet, deadly] = [sites[0]!, sites[1]!];
    grounds.commit(quiet.path, files("two"));
    await grounds.succeeds(await grounds.deploy(quiet.id));
    await worker.process.stop();

    grounds.commit(deadly.path, files("two"));
    let made = "";
    await dieAtEach(grounds, SITE_PLACES, async () => {
      made = await grounds.deploy(deadly.id);
    });
    await grounds.succeeds(made);
    await assertOnce(grounds, made);
    const { status, text, deployment } = await grounds.get(deadly.host);
    assert.equal([status, text, deployment], [200, "two", made]);
    assert.equal(withoutCommits(diskOf(grounds, deadly.id)), withoutCommits(diskOf(grounds, quiet.id)));
  });

  test("a deployment that does not become healthy and is undone", async () => {
    const grounds = await openGrounds({ node: "two" });
    const { sites, worker } = await sitesLive(grounds, "undone");
    const { id, host, path, first } = sites[0]!;
    const before = diskOf(grounds, id);
    await worker.process.stop();
    grounds.commit(path, files("two"));
    await grounds.change(id, { do: "change", health: { path: "/not-there" }, policy: { healthyDeadlineMs: 2_000 } });
    let made = "";
    const places = placesOf("RESTORE_ROUTES", "RESTORE_SYMLINKS", "REMOVE_RELEASE");
    await dieAtEach(grounds, places, async () => {
      made = await grounds.deploy(id);
    });
    const state = await grounds.ended(made);
    assert.is(state.state, "rolledBack");
    assert.is(state.failure?.phase, "HEALTH_CHECK");
    await assertOnce(grounds, made);
    const { status, text, deployment } = await grounds.get(host);
    assert.equal([status, text, deployment], [200, "one", first], "the former release serves");
    assert.equal(diskOf(grounds, id).filter(isNoGeneration), before.filter(isNoGeneration), "nothing is left over");
  });

  test("put right after somebody broke it", async () => {
    const grounds = await openGrounds({ node: "healed", env: { MILLRACE_RECONCILE_SECONDS: "1" } });
    const { sites, worker } = await sitesLive(grounds, "broken");
    const { id, host, first } = sites[0]!;
    await worker.process.stop();
    const before = diskOf(grounds, id);
    await dieAtEach(grounds, HEAL_PLACES, async () => {
      for (const name of ["current", "route"])
        rmSync(join(grounds.data, "orchestrator", grounds.node, "apps", id, name));
    });
    await eventually(
      async () => ((await grounds.get(host)).text === "one" ? true : undefined),
      "it serves again",
      30_000,
    );
    await eventually(
      async () => Object.values((await grounds.application(id)).drift).every(({ open }) => !open) || undefined,
      "all of it is said to be put right",
      30_000,
    );
    await grounds.settled(id);
    assert.is((await grounds.get(host)).deployment, first);
    assert.equal(diskOf(grounds, id).filter(isNoGeneration), before.filter(isNoGeneration));
    const told = (await grounds.events(application, id)).filter(({ type }) => type.startsWith("Drift"));
    const count = (type: string, resource: string) =>
      told.filter((event) => event.type === type && (event.data as { resource: string }).resource === resource).length;
    for (const resource of ["symlink", "route"])
      assert.equal([count("DriftDetected", resource), count("DriftRepaired", resource)], [1, 1], resource);
  });

  test("stopped, started and removed", async () => {
    const grounds = await openGrounds({ node: "three" });
    const { sites, worker } = await sitesLive(grounds, "going");
    const { id, host } = sites[0]!;
    await worker.process.stop();
    const settling = ["before", "during", "after", "recorded"].map((point) => `application.settle.${point}`);
    const stopping = await dieAtEach(grounds, settling, () => grounds.change(id, { do: "stop" }));
    await grounds.settled(id);
    assert.is((await grounds.get(host)).status, 503);
    await stopping.process.stop();
    const removing = ["before", "after", "recorded"].map((point) => `application.tearDown.${point}`);
    await dieAtEach(grounds, removing, () => grounds.remove(id));
    await eventually(async () => ((await grounds.application(id)).exists ? undefined : true), "it is gone");
    assert.equal(diskOf(grounds, id), []);
    // Another list of hosts is another configuration: a connection that opens in that moment may be closed.
    const status = () =>
      grounds.get(host).then(
        (answer) => answer.status,
        () => undefined,
      );
    await eventually(async () => ((await status()) === 404 ? true : undefined), "its host is free");
  });
}
