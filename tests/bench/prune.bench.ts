/**
 * Pruning a repository of which the half is unreachable, and reading all of it through, against `ostree prune` and `ostree fsck`; and how
 * memory grows with objects. `BENCH_REFS` references of 200 files each (20; 200 are 43,000 objects), and a tenth of that.
 */
import { execFile, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { publishingPrograms } from "@millrace/local/flatpak.ts";
import { Tools } from "@millrace/publisher/adapters/ostree/tools.ts";
import { inTurn, median, ratioOf, report } from "./measure.ts";
import { seconds } from "./publishing.ts";
import { fillObjects } from "./trees.ts";

const REFS = Number(process.env.BENCH_REFS ?? 20);
const ROUNDS = Number(process.env.BENCH_ROUNDS ?? 2);
const FILES = 200;
const OURS = fileURLToPath(new URL("./prune-ours.ts", import.meta.url));
const run = promisify(execFile);

interface Acted {
  readonly seconds: number;
  readonly mib: number;
}

const ours = async (root: string, act: string): Promise<Acted> =>
  JSON.parse((await run(process.execPath, [OURS, root, act])).stdout) as Acted;

const programs = await publishingPrograms({ bring: true });
if (!("env" in programs)) {
  console.log(`skipped: ${programs.why}`);
  process.exit(0);
}
const folder = mkdtempSync(join(tmpdir(), "millrace-prune-"));
try {
  const tools = await Tools.open({ env: programs.env, home: join(folder, "home") });
  const highest = new Map<string, number[]>();
  for (const refs of [Math.ceil(REFS / 10), REFS]) {
    const full = join(folder, `full-${refs}`);
    const tree = join(folder, "tree");
    const { repository } = await fillObjects(tools, full, { refs, files: FILES, tree });
    const count = (await Array.fromAsync(repository.objects())).flat().length;
    const shown = (all: ReadonlyArray<Acted>) =>
      `${median(all.map((one) => one.seconds)).toFixed(2)} s, ${Math.round(Math.max(...all.map(({ mib }) => mib)))} MiB at the most`;
    const theirs = async (root: string, args: ReadonlyArray<string>): Promise<Acted> => ({
      seconds: await seconds(() => tools.run("ostree", [`--repo=${root}`, ...args])),
      mib: Number.NaN,
    });
    /** The half of the references, hard links to the same objects. */
    const half = async (name: string): Promise<string> => {
      const to = join(folder, name);
      await once(spawn("cp", ["-al", full, to]), "close");
      for (let at = 0; at < refs; at += 2) {
        await tools.run("ostree", [`--repo=${to}`, "refs", "--delete", `app/org.test.A${at}/x86_64/stable`]);
      }
      return to;
    };
    const onHalf = async (act: (root: string) => Promise<Acted>): Promise<Acted> => {
      const root = await half("half");
      const acted = await act(root);
      rmSync(root, { recursive: true });
      return acted;
    };
    const prunes = await inTurn(
      ROUNDS,
      () => onHalf((root) => ours(root, "prune")),
      () => onHalf((root) => theirs(root, ["prune", "--refs-only", "--depth=0"])),
    );
    const scrubs = await inTurn(
      ROUNDS,
      async () => {
        rmSync(join(full, ".millrace/scrub.json"), { force: true });
        return ours(full, "scrub");
      },
      () => theirs(full, ["fsck", "--quiet"]),
    );
    const seconded = (all: ReadonlyArray<Acted>) => `${median(all.map((one) => one.seconds)).toFixed(2)} s`;
    const nothing = await ours(full, "nothing");
    highest.set("nothing", [...(highest.get("nothing") ?? []), nothing.mib]);
    for (const [act, what, against, measured] of [
      [
        "prune",
        `prune of ${count} objects, half of them unreachable: quarantined, then deleted`,
        "ostree prune",
        prunes,
      ],
      ["scrub", `scrub of ${count} objects, its place remembered`, "ostree fsck", scrubs],
    ] as const) {
      highest.set(act, [...(highest.get(act) ?? []), Math.max(...measured.ours.map(({ mib }) => mib))]);
      report({
        ...{ what, against, reach: "≤ 1.1", ratio: ratioOf(measured, (one) => one.seconds) },
        ...{ ours: shown(measured.ours), theirs: seconded(measured.theirs) },
        durability: act === "scrub" ? "place synced each 256th" : "as the tools do it: not synced",
      });
    }
    rmSync(full, { recursive: true });
  }
  const [, idle = 0] = highest.get("nothing")!;
  for (const act of ["prune", "scrub"]) {
    const [few = 0, many = 0] = highest.get(act)!;
    report({
      what: `memory of a ${act}: of ten times the objects`,
      against: "of a tenth of them",
      reach: "≤ 1.25",
      ratio: many / few,
      ours: `${Math.round(many)} MiB, ${Math.round(many - idle)} of them above a process that does nothing`,
      theirs: `${Math.round(few)} MiB`,
      durability: "highest resident set",
    });
  }
} finally {
  rmSync(folder, { recursive: true, force: true });
}
