/**
 * `mill tour`: two minutes with applications on the machine at hand. Every command that it shows is run as it stands, by `mill`
 * itself, and what it says of a crash is read from the log afterwards.
 */
import { execFile } from "node:child_process";
import { cpSync, existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { readRunState } from "@millrace/local/run-state.ts";
import { Failure, interrupted, usage } from "../failure.ts";
import { connect, type Gateway, gatewayOf, sleep } from "../gateway.ts";
import { type Io, oneLine } from "../io.ts";
import { run, styleOf } from "../run.ts";
import { type Call, EXIT, type None } from "../table.ts";
import { targetOfCall } from "../target.ts";
import type { Answer } from "../typed.ts";
import { addressOf } from "./applications-follow.ts";
import type { Of } from "./applications-spec.ts";
import type { Application } from "./applications-text.ts";
import { crashText, killBetween, Visitors, visit } from "./tour-crash.ts";

export type TourCall = Call<Of<"boolean", "keep"> & Of<"string", "base-image">, None>;

const EXAMPLES = fileURLToPath(new URL("../../examples/", import.meta.url));
/** What one tour may take, in milliseconds. */
const TOUR_MS = 600_000;
const CLEANING_MS = 90_000;
const NODE_OF_THIS_MACHINE = "local";

/** What the tour has made and has to take away again. */
interface Made {
  readonly name: string;
  readonly id: string;
  readonly repository: string;
}

class Tour {
  readonly call: TourCall;
  readonly gateway: Gateway;
  readonly data: string;
  readonly publicUrl: string;
  readonly made: Made[] = [];
  #step = 0;

  constructor(call: TourCall, gateway: Gateway, data: string, publicUrl: string) {
    this.call = call;
    this.gateway = gateway;
    this.data = data;
    this.publicUrl = publicUrl;
  }

  get io(): Io {
    return this.call.io;
  }

  /** A chapter, with what it is about. */
  async chapter(title: string, text: string): Promise<void> {
    const { colour } = styleOf(this.call);
    const head = `${++this.#step} · ${title}`;
    await this.io.out(`\n${colour ? `\u001b[1m${head}\u001b[22m` : head}\n\n${wrapped(text)}\n\n`);
  }

  say(text: string): Promise<void> {
    return this.io.out(`${wrapped(text)}\n`);
  }

  /** Shows a command and runs it. @throws Failure when it does not end as it should */
  async mill(words: readonly string[], expected: number = EXIT.ok, io: Io = this.io): Promise<void> {
    await io.out(`  $ mill ${words.map(quoted).join(" ")}\n`);
    const code = await run([...words, ...this.target()], { ...indented(io), outIsTerminal: false });
    await io.out("\n");
    if (io.interrupted.aborted) throw interrupted();
    if (code === expected) return;
    throw new Failure("tour", EXIT.failure, `\`mill ${words.slice(0, 3).join(" ")}\` ended with code ${code}`, {
      fix: "What it printed above says why; `mill status` and `mill doctor` look at the machine",
    });
  }

  /** The flags that say which gateway is meant, for every command of the tour. */
  target(): string[] {
    const { context, url, org } = this.call.flags;
    return [
      ...(context === undefined ? [] : ["--context", context]),
      ...(url === undefined ? [] : ["--url", url]),
      ...(org === undefined ? [] : ["--org", org]),
    ];
  }

  application(id: string): Promise<Application> {
    return this.gateway.call("getApplication", { params: { id } });
  }

  /** Process id of the orchestrator; undefined while it does not run. */
  orchestrator(): number | undefined {
    const state = readRunState(this.data);
    if (state === undefined) throw notRunning(this.data);
    return state.services.find(({ name }) => name === "orchestrator")?.pid;
  }
}

const quoted = (word: string): string => (/^[\w@%+=:,./-]+$/.test(word) ? word : `'${word}'`);

/** Everything that a command prints, a little to the right, and in one stream. */
function indented(io: Io): Io {
  const shift = (text: string) => text.replace(/^(?=.)/gm, "    ");
  return { ...io, out: (text) => io.out(shift(text)), err: (text) => void io.out(shift(text)) };
}

/** Lines of at most 100 characters. */
export function wrapped(text: string): string {
  const lines = [""];
  for (const word of text.split(" ")) {
    const last = lines[lines.length - 1]!;
    if (last !== "" && last.length + 1 + word.length > 100) lines.push(word);
    else lines[lines.length - 1] = last === "" ? word : `${last} ${word}`;
  }
  return lines.join("\n");
}

const notRunning = (data: string): Failure =>
  new Failure("not-running", EXIT.failure, `Nothing runs on ${data}`, {
    fix: "Start it in another terminal: `mill up`",
  });

/** What the tour needs, or the failure that says what is missing. */
async function opened(call: TourCall): Promise<Tour> {
  const style = styleOf(call);
  if (style.format !== "table") throw usage("The tour is for people", "Leave out --output");
  const target = targetOfCall(call);
  const { data } = target;
  if (data === undefined) {
    throw new Failure(
      "not-here",
      EXIT.usage,
      "The tour ends a process of this machine, and this gateway is elsewhere",
      {
        fix: "Start one here, `mill up`, and name its context: `mill tour --context local`",
      },
    );
  }
  const state = readRunState(data);
  if (state === undefined) throw notRunning(data);
  const { publicUrl } = state.facts;
  if (!state.services.some(({ name }) => name === "orchestrator") || publicUrl === undefined) {
    throw new Failure("incomplete", EXIT.failure, "Nothing serves applications on this machine", {
      why: "Caddy or the orchestrator does not run",
      fix: "`mill doctor` says what is missing and what installs it; `mill setup` brings Caddy",
    });
  }
  const gateway = connect(target, call.io, { seconds: 60, isPatient: true, verbose: call.flags.verbose });
  await gatewayOf(call).org();
  return new Tour(call, gateway, data, publicUrl);
}

export async function tour(call: TourCall): Promise<number> {
  const limit = AbortSignal.timeout(TOUR_MS);
  const bounded = { ...call, io: { ...call.io, interrupted: AbortSignal.any([call.io.interrupted, limit]) } };
  const now = await opened(bounded);
  const began = performance.now();
  try {
    await site(now);
    await container(now);
    await past(now);
    return EXIT.ok;
  } finally {
    await takeAway(now, call);
    await call.io.out(`\nThat was the tour: ${Math.round((performance.now() - began) / 1000)} s.\n`);
  }
}

const git = async (folder: string, ...args: string[]): Promise<string> => {
  const who = { GIT_AUTHOR_NAME: "mill tour", GIT_AUTHOR_EMAIL: "tour@localhost" };
  const committer = { GIT_COMMITTER_NAME: "mill tour", GIT_COMMITTER_EMAIL: "tour@localhost" };
  // Whatever this user has set up for Git stays out of it.
  const env = { PATH: process.env.PATH, HOME: folder, GIT_CONFIG_NOSYSTEM: "1", ...who, ...committer };
  const { stdout } = await promisify(execFile)("git", ["-C", folder, ...args], { env, timeout: 30_000 });
  return stdout.trim();
};

/** A copy of an example as a Git repository of its own, where the node may fetch from. */
async function repositoryOf(tour: Tour, example: string, name: string): Promise<string> {
  const folder = join(tour.data, "local-sources", name);
  mkdirSync(folder, { recursive: true, mode: 0o700 });
  cpSync(join(EXAMPLES, example), folder, { recursive: true });
  await git(folder, "init", "--quiet", "--initial-branch", "main");
  await git(folder, "add", "--all");
  await git(folder, "commit", "--quiet", "--message", `${example}, as it comes`);
  return folder;
}

/** A name that neither an application nor a repository has. */
async function freeName(tour: Tour, wish: string): Promise<string> {
  for (let number = 1; number < 100; number++) {
    const name = number === 1 ? wish : `${wish}-${number}`;
    if (existsSync(join(tour.data, "local-sources", name))) continue;
    try {
      await tour.application(name);
    } catch (error) {
      if (error instanceof Failure && error.exit === EXIT.notFound) return name;
      throw error;
    }
  }
  throw new Failure("conflict", EXIT.conflict, `All names like ${wish} are taken`, {
    fix: "Delete some: `mill apps list`",
  });
}

/** Makes an application, and remembers it from before it is there. */
async function create(tour: Tour, name: string, repository: string, flags: readonly string[]): Promise<Made> {
  const half = { name, id: "", repository };
  tour.made.push(half);
  await tour.mill(["apps", "create", name, "--repository", repository, ...flags]);
  const made = { ...half, id: (await tour.application(name)).id };
  tour.made.splice(tour.made.indexOf(half), 1, made);
  return made;
}

async function look(tour: Tour, host: string, path: string, of: RegExp): Promise<void> {
  const answer = await visit(tour.publicUrl, host, path);
  const found = of.exec(answer.text)?.[1] ?? answer.text.split("\n")[0] ?? "";
  await tour.io.out(
    `  $ curl ${addressOf(tour.gateway.target, host)}${path}\n    ${answer.status}  ${oneLine(found)}  (from ${answer.deployment ?? "nobody"})\n\n`,
  );
}

const TITLE = /<h1>(.*?)<\/h1>/s;

async function site(tour: Tour): Promise<void> {
  const name = await freeName(tour, "hello-site");
  const repository = await repositoryOf(tour, "hello-site", name);
  await tour.chapter(
    "An application",
    `A copy of examples/hello-site is now a Git repository, ${repository}. An application is made of it, and deployed: six phases, of which each is an event before it is begun, and another when it is done.`,
  );
  const { id } = await create(tour, name, repository, ["--folder", "public", "--not-found", "404.html"]);
  await tour.mill(["apps", "deploy", name, "--wait"]);
  const { host } = (await tour.application(id)).status;
  await look(tour, host, "/", TITLE);
  const page = join(repository, "public", "index.html");
  writeFileSync(page, readFileSync(page, "utf8").replace("the first release", "the second release"));
  await git(repository, "commit", "--quiet", "--all", "--message", "Another greeting");
  await crash(tour, { name, id, host });
  await tour.chapter(
    "Back",
    "The former release is still there. To go back to it nothing is fetched and nothing is built: what that deployment had found out stands in the log, and is used again.",
  );
  await tour.mill(["apps", "rollback", name, "--plan"]);
  await tour.mill(["apps", "rollback", name, "--wait"]);
  await look(tour, host, "/", TITLE);
}

/** The change is deployed, and its worker killed when its release is on the disk, before the log knows of it. */
async function crash(tour: Tour, { name, id, host }: { name: string; id: string; host: string }): Promise<void> {
  await tour.chapter(
    "A change, and a crash in the middle of it",
    `The page says something else now, and that is committed. While it is deployed, the orchestrator is killed (SIGKILL): as soon as the files of the new release are on the disk, before it could write down that they are. Nobody tidies up. It is started again by its supervisor, and takes the work over when the dead one's lease is over. Visitors come all the while.`,
  );
  const visitors = new Visitors(tour.publicUrl, host);
  const stop = new AbortController();
  const deployments = (await tour.application(id)).status.deployments;
  const killing = killBetween({
    folder: join(tour.data, "orchestrator", NODE_OF_THIS_MACHINE, "apps", id),
    pid: () => tour.orchestrator(),
    isRecorded: async (phase) => {
      const { status } = await tour.application(id);
      const active = status.active ?? status.live?.deployment;
      if (active === undefined || status.deployments === deployments) return false;
      const { phases } = (await tour.gateway.call("getDeployment", { params: { id: active } })).status;
      return phases.some((one) => one.phase === phase && one.state === "completed");
    },
    onKill: ({ pid }) => tour.io.out(`    ------ the orchestrator, process ${pid}, is killed ------\n`),
    stop: stop.signal,
  });
  // Told below, where it is awaited.
  killing.catch(() => {});
  try {
    await tour.mill(["apps", "deploy", name, "--wait"]);
  } finally {
    stop.abort();
    await visitors.stop();
  }
  const kills = await killing;
  const { status } = await tour.application(id);
  const deployment = await tour.gateway.call("getDeployment", { params: { id: status.live!.deployment } });
  const history = await historyToItsEnd(tour, deployment.id);
  for (const text of crashText({ kills, deployment, history, pid: tour.orchestrator(), visitors })) {
    await tour.say(text);
  }
  await tour.io.out("\n");
  await look(tour, host, "/", TITLE);
}

const PROJECTED_MS = 10_000;

/** What happened is projected a moment after it did: waited for, until the deployment's success is among it. */
async function historyToItsEnd({ gateway, io }: Tour, id: string): Promise<Answer<"historyOfDeployment">["items"]> {
  for (const deadline = Date.now() + PROJECTED_MS; ; await sleep(50, io.interrupted)) {
    const { items } = await gateway.call("historyOfDeployment", { params: { id }, query: { limit: 200 } });
    if (items.some(({ type }) => type === "DeploymentSucceeded") || Date.now() > deadline) return items;
  }
}

/** The same for a container, where an engine is there. */
async function container(tour: Tour): Promise<void> {
  const { items } = await tour.gateway.call("listNodes", {});
  const engines = items.flatMap(({ workers }) => workers.map(({ docker }) => docker));
  if (!engines.some((docker) => "version" in docker)) {
    const missing = engines.flatMap((docker) => ("missing" in docker ? [docker.missing] : []))[0];
    await tour.chapter("A container", `Left out. ${missing ?? "No node has a container engine."}`);
    return;
  }
  const name = await freeName(tour, "hello-app");
  const repository = await repositoryOf(tour, "hello-app", name);
  await tour.chapter(
    "A container",
    "examples/hello-app has a Dockerfile. Its image is built, its container is started beside the former one, asked whether it is ready, and only then given the requests.",
  );
  const base = tour.call.flags["base-image"];
  const { id } = await create(tour, name, repository, [
    ...["--port", "8080", "--memory", "64MiB", "--env", "GREETING=Welcome"],
    ...(base === undefined ? [] : ["--arg", `BASE=${base}`]),
  ]);
  await tour.mill(["apps", "deploy", name, "--wait"]);
  const { host } = (await tour.application(id)).status;
  await look(tour, host, "/cgi-bin/hello", /^(.*)$/m);
  await tour.mill(["apps", "change", name, "--env", "GREETING=Willkommen"]);
  await tour.say("The image is there already, so it is adopted; only the container is another one.\n");
  await tour.mill(["apps", "deploy", name, "--wait"]);
  await look(tour, host, "/cgi-bin/hello", /^(.*)$/m);
}

/** What was: the application at an earlier moment, and all that happened to it. */
async function past(tour: Tour): Promise<void> {
  const { name, id } = tour.made[0]!;
  const { items } = await tour.gateway.call("historyOfApplication", { params: { id }, query: { limit: 200 } });
  const ended = items.filter(({ type }) => type === "DeploymentEnded").reverse();
  const then = ended[1] ?? ended[0];
  await tour.chapter(
    "What was",
    "Nothing in the log is ever written over. So any moment of an application can be looked at: here as it was before it was taken back, and all that happened to it.",
  );
  if (then !== undefined) await tour.mill(["apps", "show", name, "--at", `v${then.version}`]);
  await tour.mill(["history", "application", name]);
}

/** Whatever was made goes, however the tour ended; what stays is named. */
async function takeAway(tour: Tour, call: TourCall): Promise<void> {
  if (tour.made.length === 0) return;
  const names = tour.made.map(({ name }) => name);
  if (call.flags.keep) {
    const repositories = tour.made.map(({ repository }) => repository);
    await tour.chapter(
      "What is left",
      `As you asked, all of it: the applications ${names.join(", ")}, and the repositories ${repositories.join(", ")}. \`mill apps delete <name>\` takes an application away.`,
    );
    return;
  }
  await tour.chapter(
    "What is left",
    "The applications go, with their releases, containers and images, and so do the repositories.",
  );
  const io = { ...call.io, interrupted: AbortSignal.timeout(CLEANING_MS) };
  for (const { name, repository } of tour.made) {
    const there = await connect(tour.gateway.target, io, { seconds: 30, verbose: false })
      .call("getApplication", { params: { id: name } })
      .catch(() => undefined);
    if (there !== undefined)
      await tour.mill(["apps", "delete", name, "--yes", "--wait", "--timeout", "60"], EXIT.ok, io);
    rmSync(repository, { recursive: true, force: true });
  }
  const ids = tour.made.flatMap(({ id }) => (id === "" ? [] : [id]));
  const base =
    tour.made.length > 1
      ? ` The base image of the container (${call.flags["base-image"] ?? "busybox:1.37"}) stays in the engine.`
      : "";
  if (ids.length === 0) return;
  await call.io.out(
    `${wrapped(`What stays is their past, as for everything: ${ids.map((id) => `\`mill history application ${id}\``).join(", ")}; and the lines of their builds, for as long as lines are kept.${base}`)}\n`,
  );
}
