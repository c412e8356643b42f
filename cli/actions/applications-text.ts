/** Applications, deployments and nodes for people. */
import { oneLine } from "../io.ts";
import { facts, type Shown, type Style, table } from "../output.ts";
import type { Answer } from "../typed.ts";

export type Application = Answer<"getApplication">;
export type Deployment = Answer<"getDeployment">;
export type ListedDeployment = Answer<"listDeployments">["items"][number];
export type Phase = Deployment["status"]["phases"][number];
type Live = Application["status"]["releases"][number];
type Node = Answer<"listNodes">["items"][number];

/** `0.12 s`, `14.2 s`, `3 min 05 s` */
export function duration(ms: number): string {
  if (ms < 10_000) return `${(ms / 1000).toFixed(2)} s`;
  if (ms < 60_000) return `${(ms / 1000).toFixed(1)} s`;
  const seconds = Math.round(ms / 1000);
  return `${Math.floor(seconds / 60)} min ${String(seconds % 60).padStart(2, "0")} s`;
}

/** `512 B`, `4.1 KiB` */
export function bytes(count: number): string {
  if (count < 1024) return `${count} B`;
  const units = ["KiB", "MiB", "GiB", "TiB"];
  const power = Math.min(units.length, Math.floor(Math.log2(count) / 10));
  return `${(count / 1024 ** power).toFixed(1)} ${units[power - 1]}`;
}

const counted = (count: number, one: string, many = `${one}s`): string => `${count} ${count === 1 ? one : many}`;

export const shortCommit = (commit: string): string => commit.slice(0, 10);

/** `refs/heads/main` as people say it. */
export const shortRef = (ref: string): string => ref.replace(/^refs\/(heads|tags)\//, "");

const sourceText = ({ spec: { source } }: Application): string =>
  source.kind === "upload"
    ? `the upload ${source.upload}`
    : `${source.kind === "git" ? source.url : source.path}, ${source.ref}`;

function buildText({ build, runtime }: Application["spec"]): string {
  if (build.kind === "static") {
    return `static site from ${build.folder === "." ? "the repository's root" : build.folder}${build.spa ? ", one page for all paths" : ""}`;
  }
  const limits =
    runtime === undefined
      ? ""
      : `; port ${runtime.port}, ${counted(runtime.instances, "instance")} of at most ${bytes(runtime.memoryBytes)} and ${runtime.cpus} CPU`;
  return `${build.dockerfile} in ${build.context}${limits}`;
}

export const releaseText = ({ seq, commit, ref, at }: Live): string =>
  `deployment ${seq}, commit ${shortCommit(commit)} of ${shortRef(ref)}, since ${at}`;

const releaseTable = (application: Application): string =>
  table(
    application.status.releases,
    [
      { title: "deployment", value: ({ seq }: Live) => seq },
      { title: "id", value: ({ deployment }: Live) => deployment },
      { title: "commit", value: ({ commit }: Live) => shortCommit(commit) },
      { title: "ref", value: ({ ref }: Live) => shortRef(ref) },
      { title: "at", value: ({ at }: Live) => at },
      {
        title: "",
        value: ({ deployment }: Live) => (deployment === application.status.live?.deployment ? "live" : ""),
      },
    ],
    { colour: false, columns: undefined },
  );

/** An application for people, whole. */
export function applicationText(application: Application): string {
  const { spec, status } = application;
  const { env = {} } = spec.runtime ?? {};
  const variables = Object.entries(env).map(([name, value]) => (typeof value === "string" ? name : `${name} (secret)`));
  const parts = [
    facts([
      ["name", spec.name],
      ["title", spec.title],
      ["id", application.id],
      ["state", `${status.state}${spec.wanted === "stopped" && status.state !== "stopped" ? ", to be stopped" : ""}`],
      ["live", status.live && releaseText(status.live)],
      ["changed", status.changed && status.live ? "since then: deploy it" : undefined],
      ["deploying", status.active],
      ["waiting", status.queue],
      ["source", sourceText(application)],
      ["build", buildText(spec)],
      ["variables", variables],
      ["hosts", [status.host, ...spec.domains]],
      ["node", status.node ?? spec.node],
      ["generation", application.generation],
      ["created", `${application.createdAt} by ${application.createdBy.name}`],
      ["changed at", application.updatedAt],
    ]),
  ];
  const { problem } = status;
  if (problem !== undefined) {
    const where = problem.phase === undefined ? "" : ` in ${problem.phase}`;
    parts.push(
      `problem since ${problem.at}${where}: ${oneLine(problem.code)}\n  why: ${oneLine(problem.message)}\n${
        problem.fix === undefined ? "" : `  fix: ${oneLine(problem.fix)}\n`
      }`,
    );
  }
  for (const [resource, drift] of Object.entries(status.drift)) {
    if (!drift.open && drift.suspendedUntil === undefined) continue;
    const later = drift.suspendedUntil === undefined ? "" : `; left alone until ${drift.suspendedUntil}`;
    parts.push(`drift of ${resource}: ${oneLine(drift.actual)} instead of ${oneLine(drift.expected)}${later}\n`);
  }
  if (status.releases.length > 0) parts.push(`releases to go back to\n${releaseTable(application)}`);
  return parts.join("\n");
}

/** What a phase found out, in a few words. */
export function outputText({ phase, output }: Pick<Phase, "phase" | "output">): string {
  // biome-ignore lint/suspicious/noExplicitAny: contracts/applications/entities.ts says what each phase's is
  const found = output as any;
  if (found === undefined || found === null) return "";
  switch (phase) {
    case "PULLING_SOURCE":
      return `commit ${shortCommit(found.commit)} of ${shortRef(oneLine(found.ref))}`;
    case "BUILDING":
      return found.image === undefined ? "nothing to build" : `image ${oneLine(found.image.tag).replace(/^.*:/, "")}`;
    case "COPYING_FILES":
      return found.files === 0
        ? `release ${shortCommit(found.release)}`
        : `${counted(found.files, "file")}, ${bytes(found.bytes)}`;
    case "CREATING_SYMLINKS":
      return `release ${shortCommit(found.to)}`;
    case "UPDATING_ROUTES":
      return [
        ...(found.containers.length === 0 ? [] : [counted(found.containers.length, "container")]),
        counted(found.hosts.length, "host"),
      ].join(", ");
    case "HEALTH_CHECK":
      return `${counted(found.probes, "probe")}, the first answered after ${found.firstMs} ms`;
    case "CLEANUP": {
      const gone = [
        found.containers > 0 ? counted(found.containers, "container") : "",
        found.images > 0 ? counted(found.images, "image") : "",
        found.releases > 0 ? counted(found.releases, "release") : "",
      ].filter((part) => part !== "");
      return gone.length === 0 ? "nothing to remove" : `removed ${gone.join(", ")}`;
    }
  }
}

/** How a phase came to its end: at once, again, found done. */
export function courseText({ attempt, adopted }: Pick<Phase, "attempt" | "adopted">): string {
  if (attempt === 0) return "kept from before";
  return [...(attempt > 1 ? [`attempt ${attempt}`] : []), ...(adopted ? ["adopted"] : [])].join(", ");
}

/** Between asking and the end, or until now. */
const took = ({ createdAt, status }: ListedDeployment): string | undefined =>
  status.finishedAt === undefined ? undefined : duration(Date.parse(status.finishedAt) - Date.parse(createdAt));

const phaseTable = (phases: readonly Phase[], style: Omit<Style, "format">): string =>
  table(
    phases,
    [
      { title: "phase", value: ({ phase }: Phase) => phase },
      { title: "state", value: ({ state }: Phase) => state },
      { title: "took", value: ({ durationMs }: Phase) => (durationMs === undefined ? "" : duration(durationMs)) },
      { title: "attempt", value: ({ attempt }: Phase) => attempt },
      { title: "adopted", value: ({ adopted }: Phase) => (adopted ? "yes" : "") },
      { title: "worker", value: ({ worker }: Phase) => worker },
      { title: "found", value: (phase: Phase) => phase.error?.message ?? outputText(phase) },
    ],
    style,
  );

/** A deployment for people, whole. */
export function deploymentText(deployment: Deployment): string {
  const { spec, status } = deployment;
  const { error, cancellation, waiting } = status;
  const parts = [
    facts([
      ["application", spec.name],
      ["deployment", spec.seq],
      ["id", deployment.id],
      ["state", status.state],
      ["trigger", spec.trigger],
      ["ref", shortRef(spec.ref)],
      ["waits", waiting && `${waiting.reason}, since ${waiting.since}`],
      ["node", status.node],
      ["asked for", `${deployment.createdAt} by ${deployment.requestedBy.name}`],
      ["started", status.startedAt],
      ["ended", status.finishedAt],
      ["took", took(deployment as unknown as ListedDeployment)],
      ["given up at", status.finishedAt === undefined ? status.deadlineAt : undefined],
      [
        "cancelled",
        cancellation &&
          `${cancellation.at} by ${cancellation.by.name}${cancellation.reason ? `: ${cancellation.reason}` : ""}`,
      ],
      ["superseded by", status.supersededBy],
      ["live again", status.rolledBackTo],
    ]),
  ];
  if (status.phases.length > 0) parts.push(phaseTable(status.phases, { colour: false, columns: undefined }));
  for (const { step, state, attempt, error: why } of status.compensations) {
    parts.push(
      `undone: ${step} ${state}${attempt > 1 ? `, attempt ${attempt}` : ""}${why ? `: ${oneLine(why.message)}` : ""}\n`,
    );
  }
  if (error !== undefined) {
    parts.push(
      `${error.phase}: ${oneLine(error.code)}\n  why: ${oneLine(error.message)}\n  fix: ${oneLine(error.fix)}\n`,
    );
  }
  return parts.join("\n");
}

/** What heals by itself is no problem; what was repaired in vain and is left alone for a while is. */
function driftWord({ status: { drift } }: Application): string {
  const left = Object.entries(drift).filter(([, { open, suspendedUntil }]) => open && suspendedUntil !== undefined);
  return left.length === 0 ? "" : `drift of ${left.map(([resource]) => resource).join(", ")}`;
}

export const applicationColumns = [
  { title: "name", value: (row: Application) => row.spec.name },
  { title: "state", value: (row: Application) => row.status.state },
  { title: "kind", value: (row: Application) => row.spec.build.kind },
  { title: "live", value: ({ status: { live } }: Application) => live && `${live.seq} (${shortCommit(live.commit)})` },
  { title: "changed", value: ({ status }: Application) => (status.changed && status.live ? "yes" : "") },
  { title: "node", value: (row: Application) => row.status.node },
  { title: "host", value: (row: Application) => row.status.host },
  { title: "problem", value: (row: Application) => row.status.problem?.code ?? driftWord(row) },
];

export const deploymentColumns = [
  { title: "id", value: (row: ListedDeployment) => row.id },
  { title: "application", value: (row: ListedDeployment) => row.spec.name },
  { title: "nr", value: (row: ListedDeployment) => row.spec.seq },
  { title: "state", value: (row: ListedDeployment) => row.status.state },
  { title: "phase", value: (row: ListedDeployment) => (row.status.finishedAt === undefined ? row.status.phase : "") },
  { title: "trigger", value: (row: ListedDeployment) => row.spec.trigger },
  { title: "ref", value: (row: ListedDeployment) => shortRef(row.spec.ref) },
  { title: "asked for", value: (row: ListedDeployment) => row.createdAt },
  { title: "took", value: took },
  { title: "why", value: (row: ListedDeployment) => row.status.waiting?.reason ?? row.status.error?.code },
];

const each = <T>(node: Node, of: (worker: Node["workers"][number]) => T): T[] => [...new Set(node.workers.map(of))];

export const nodeColumns = [
  { title: "node", value: (row: Node) => row.name },
  { title: "workers", value: (row: Node) => row.workers.map(({ instance }) => instance) },
  { title: "can", value: (row: Node) => [...new Set(row.workers.flatMap(({ capabilities }) => capabilities))] },
  { title: "free", value: (row: Node) => each(row, ({ freeBytes }) => bytes(freeBytes)) },
  {
    title: "docker",
    value: (row: Node) => each(row, ({ docker }) => ("version" in docker ? docker.version : "missing")),
  },
];

/** What the nodes lack, a line each. */
type SeenNow = Answer<"seeApplication">;

const containerColumns: ReadonlyArray<Shown<NonNullable<SeenNow["containers"]>[number]>> = [
  { title: "instance", value: ({ slot }) => slot },
  { title: "state", value: ({ state, exitCode }) => (exitCode === undefined ? state : `${state}, code ${exitCode}`) },
  { title: "health", value: ({ health }) => health },
  { title: "restarts", value: ({ restarts }) => restarts },
  { title: "started", value: ({ startedAt }) => startedAt?.slice(0, 19) },
  { title: "deployment", value: ({ deployment }) => deployment },
];

export function seenText({ route, stopped, containers, differences }: SeenNow, style: Style): string {
  const served = route === null ? "nothing" : `generation ${route.generation}, ${route.deployment}`;
  const head = facts([
    ["served", stopped ? "stopped" : served],
    ["containers", containers === null ? "the engine does not answer" : containers.length],
  ]);
  const list = containers === null || containers.length === 0 ? "" : `\n${table(containers, containerColumns, style)}`;
  const wrong = differences.map(({ resource, expected, actual }) => `${resource}: ${actual}, wanted is ${expected}\n`);
  return `${head}${list}${wrong.length === 0 ? "" : `\n${wrong.join("")}`}`;
}

export const lackText = (nodes: readonly Node[]): string =>
  nodes
    .flatMap((node) =>
      each(node, ({ docker }) => ("missing" in docker ? `\n${node.name}: ${oneLine(docker.missing)}\n` : "")),
    )
    .join("");
