/** Which files hold tests, and of what kind they are. */
import { readdirSync, readFileSync } from "node:fs";
import { join, relative, sep } from "node:path";

export type Kind = "unit" | "integration" | "e2e" | "soak" | "bench";

export interface TestFile {
  readonly path: string;
  /** From the root of the checkout, with slashes. */
  readonly name: string;
  readonly kind: Kind;
}

/** Whether it is given a Docker engine: it says so itself. */
export const takesDocker = ({ path }: TestFile): boolean => readFileSync(path, "utf8").includes("testDocker(");

/**
 * All files of a verb: `test` takes `*.unit.test.ts`, `*.integration.test.ts` and `*.e2e.test.ts`; `soak` takes
 * `*.soak.ts`; `bench` takes `*.bench.ts`. With filters only files whose name contains one of them.
 * @throws Error for a `*.test.ts` without a kind in its name: nobody would notice that it never runs.
 */
export function discover(root: string, verb: "test" | "soak" | "bench", filters: readonly string[] = []): TestFile[] {
  const files: TestFile[] = [];
  for (const path of walk(root)) {
    const name = relative(root, path).split(sep).join("/");
    const kind = kindOf(name);
    if (kind === undefined) continue;
    const wanted = verb === "test" ? kind === "unit" || kind === "integration" || kind === "e2e" : kind === verb;
    if (wanted && (filters.length === 0 || filters.some((filter) => name.includes(filter))))
      files.push({ path, name, kind });
  }
  return files.sort((a, b) => (a.name < b.name ? -1 : 1));
}

function kindOf(name: string): Kind | undefined {
  if (name.endsWith(".soak.ts")) return "soak";
  if (name.endsWith(".bench.ts")) return "bench";
  if (!name.endsWith(".test.ts")) return undefined;
  const kind = /\.(unit|integration|e2e)\.test\.ts$/.exec(name)?.[1];
  if (!kind) throw new Error(`${name}: the name must say the kind (.unit.test.ts, .integration.test.ts, .e2e.test.ts)`);
  return kind as Kind;
}

function* walk(folder: string): Generator<string> {
  for (const entry of readdirSync(folder, { withFileTypes: true })) {
    // Fixtures are test files that must fail; the runner's own test names them.
    if (entry.name.startsWith(".") || ["node_modules", "dist", "coverage", "fixtures"].includes(entry.name)) continue;
    const path = join(folder, entry.name);
    if (entry.isDirectory()) yield* walk(path);
    else if (entry.isFile()) yield path;
  }
}
