/** Builds on their way into repositories. */
import { usage } from "../failure.ts";
import { gatewayOf } from "../gateway.ts";
import { facts, printList, printOne, table } from "../output.ts";
import { styleOf } from "../run.ts";
import type { AnyCall } from "../table.ts";
import type { Answer } from "../typed.ts";

type Build = Answer<"getBuild">;
interface Flags {
  readonly app?: string | undefined;
  readonly private?: boolean | undefined;
  readonly log?: string | undefined;
  readonly priority?: number | undefined;
  readonly seen?: number | undefined;
  readonly hold?: string | undefined;
  readonly "end-of-life"?: string | undefined;
  readonly rebase?: string | undefined;
  readonly "token-type"?: number | undefined;
  readonly subset?: string | undefined;
}
type Of<A> = AnyCall & { readonly flags: Flags; readonly args: A };
type OfBuild = Of<{ readonly build: string }>;

export function buildText({ id, spec, status, createdBy, createdAt }: Build): string {
  const { step, failure, missing, deltas } = status;
  const waits = step && (step.attempt === 0 ? `waits to ${step.name}` : `${step.name}, attempt ${step.attempt}`);
  const told = facts([
    ["number", status.number],
    ["id", id],
    ["app", spec.appId],
    ["repository", spec.repository],
    ["state", `${status.state}, ${status.published}`],
    ["step", step && `${waits}, since ${step.since}`],
    ["why", failure && `${failure.reason} (${failure.code})`],
    ["fix", failure?.fix],
    ["missing", missing && `${missing.count}: ${missing.names.slice(0, 3).join(", ")}`],
    ["source", spec.source.type],
    ["priority", spec.priority],
    ["log", spec.logUrl],
    ["ids", status.extraIds.join(", ")],
    ["hold", status.hold],
    ...reviewFacts(status.review),
    ["node", status.node],
    ["begun by", `${createdBy.name}, ${createdAt}`],
    ["committed", status.committedAt && `${status.committedAt}, in ${status.commitMs} ms`],
    ["published", status.publishedAt && `${status.publishedAt}, in ${status.publishMs} ms`],
    ["deltas", deltas && `${deltas.made}${deltas.failed === undefined ? "" : `; ${deltas.failed}`}`],
  ]);
  if (status.refs.length === 0) return told;
  const refs = table(
    status.refs,
    [
      { title: "reference", value: (row) => row.ref },
      { title: "commit", value: (row) => (row.published ?? row.committed ?? row.commit).slice(0, 16) },
    ],
    { colour: false, columns: undefined },
  );
  return `${told}\n${refs}`;
}

type Asked = NonNullable<Build["status"]["review"]>;
function reviewFacts(review: Asked | undefined): ReadonlyArray<readonly [string, string | undefined]> {
  if (review === undefined) return [];
  const { decision, changes, more = 0, since } = review;
  const by = decision?.by?.name ?? (decision?.remembered && `what was decided about ${decision.remembered}`);
  const why = decision?.comment === undefined ? "" : `: ${decision.comment}`;
  return [
    [
      "decision",
      decision === undefined
        ? `somebody is to decide, since ${since}`
        : `${decision.approved ? "approved" : "rejected"} by ${by}, ${decision.at}${why}`,
    ],
    ...changes.map(({ ref, added, removed }) => {
      const parts = [...added.map((each) => `+${each}`), ...removed.map((each) => `-${each}`)];
      return ["permissions", `${ref}: ${parts.join(" ")}`] as const;
    }),
    ["and of", more === 0 ? undefined : `${more} other references`],
  ];
}

const named = ({ status }: { readonly status: { readonly number: number } }): string => `${status.number}`;
export const printBuild = (call: AnyCall, build: Build): Promise<void> =>
  printOne(call.io, styleOf(call), build, buildText, named);
const idOf = ({ args }: OfBuild) => ({ id: args.build });

export async function createBuild(call: Of<{ readonly repository: string }>): Promise<void> {
  const { app, log, priority } = call.flags;
  const payload = {
    repository: call.args.repository,
    ...(app === undefined ? {} : { appId: app }),
    ...(call.flags.private === true ? { publicDownload: false } : {}),
    ...(log === undefined ? {} : { logUrl: log }),
    ...(priority === undefined ? {} : { priority }),
  };
  await printBuild(call, await gatewayOf(call).call("createBuild", { payload }));
}

export async function changeBuild(call: OfBuild): Promise<void> {
  const { priority, log, seen } = call.flags;
  const payload = {
    ...(priority === undefined ? {} : { priority }),
    ...(log === undefined ? {} : { logUrl: log === "" ? null : log }),
  };
  if (Object.keys(payload).length === 0) throw usage("Nothing is to be changed", "mill builds change --help");
  await printBuild(call, await gatewayOf(call).call("changeBuild", { params: idOf(call), seen, payload }));
}

export async function declareRefs(
  call: Of<{ readonly build: string; readonly refs: readonly string[] }>,
): Promise<void> {
  const refs = call.args.refs.map((each) => {
    const [ref, commit, ...rest] = each.split("=");
    if (ref === undefined || commit === undefined || rest.length > 0) {
      throw usage(`"${each}" is no reference with its commit`, "app/org.example.Hello/x86_64/stable=<commit>");
    }
    return { ref, commit };
  });
  await printBuild(
    call,
    await gatewayOf(call).call("declareRefs", { params: { id: call.args.build }, payload: { refs } }),
  );
}

export async function addExtraIds(
  call: Of<{ readonly build: string; readonly ids: readonly string[] }>,
): Promise<void> {
  const { build, ids } = call.args;
  await printBuild(call, await gatewayOf(call).call("addExtraIds", { params: { id: build }, payload: { ids } }));
}

export async function commitBuild(call: OfBuild): Promise<void> {
  const { "end-of-life": endOfLife, rebase, "token-type": tokenType, subset } = call.flags;
  const payload = {
    ...(endOfLife === undefined ? {} : { endOfLife }),
    ...(rebase === undefined ? {} : { endOfLifeRebase: rebase }),
    ...(tokenType === undefined ? {} : { tokenType }),
    ...(subset === undefined ? {} : { subsets: subset.split(",") }),
  };
  await printBuild(call, await gatewayOf(call).call("commitBuild", { params: idOf(call), payload }));
  call.io.err(`Next: mill builds show ${call.args.build} --wait state=ready\n`);
}

export const steerBuild =
  (verb: "publishBuild" | "cancelBuild" | "purgeBuild" | "retryBuild" | "releaseHold") =>
  async (call: OfBuild): Promise<void> => {
    await printBuild(call, await gatewayOf(call).call(verb, { params: idOf(call) }));
  };

export const decideBuild =
  (verb: "approveBuild" | "rejectBuild") =>
  async (call: OfBuild & { readonly flags: { readonly comment?: string | undefined } }): Promise<void> => {
    const { comment } = call.flags;
    const payload = comment === undefined ? {} : { comment };
    await printBuild(call, await gatewayOf(call).call(verb, { params: idOf(call), payload }));
  };

/** What a build published: again, or taken away. It is a build of its own, which is shown. */
export const followBuild =
  (verb: "rollBackToBuild" | "unpublishBuild") =>
  async (call: OfBuild): Promise<void> => {
    const { hold, priority } = call.flags;
    const payload = { ...(hold === undefined ? {} : { hold }), ...(priority === undefined ? {} : { priority }) };
    await printBuild(call, await gatewayOf(call).call(verb, { params: idOf(call), payload }));
  };

export async function promoteBuild(call: Of<{ readonly build: string; readonly repository: string }>): Promise<void> {
  const { priority } = call.flags;
  const payload = { repository: call.args.repository, ...(priority === undefined ? {} : { priority }) };
  await printBuild(call, await gatewayOf(call).call("promoteBuild", { params: { id: call.args.build }, payload }));
}

export async function reviewBuild(call: OfBuild): Promise<void> {
  const review = await gatewayOf(call).call("reviewBuild", { params: idOf(call) });
  await printOne(
    call.io,
    styleOf(call),
    review,
    ({ refs }) => refs.map(reviewText).join("\n"),
    () => call.args.build,
  );
}

type Reviewed = Answer<"reviewBuild">["refs"][number];

const reviewText = ({ ref, from, to, permissions, runtime, download, files, ...counts }: Reviewed): string =>
  facts([
    ["reference", ref],
    ["from", from ?? "nothing: it is new"],
    ["to", to],
    ["may now", permissions.added.join(", ")],
    ["may no more", permissions.removed.join(", ")],
    ["runtime", runtime.before === runtime.after ? runtime.after : `${runtime.before ?? "none"} → ${runtime.after}`],
    [
      "files",
      `${counts.added} added, ${counts.changed} changed, ${counts.removed} removed, ${counts.growth} bytes more`,
    ],
    ["to load", `${download.bytes} bytes in ${download.objects} objects`],
    ["by delta", download.deltaBytes === undefined ? undefined : `${download.deltaBytes} bytes`],
    [
      "such as",
      files
        .slice(0, 5)
        .map(({ path }) => path)
        .join(", "),
    ],
  ]);

type Expiring = Answer<"buildRetention">["builds"][number];

export async function buildRetention(call: AnyCall): Promise<void> {
  const { builds, more } = await gatewayOf(call).call("buildRetention", {});
  const shown = [
    { title: "number", value: (row: Expiring) => row.number },
    { title: "state", value: (row: Expiring) => row.state },
    { title: "goes", value: (row: Expiring) => row.at },
    { title: "bytes", value: (row: Expiring) => row.bytes },
    { title: "repository", value: (row: Expiring) => row.repository },
  ];
  if (builds.length === 0) call.io.err("No build has files that go by themselves\n");
  await printList(call.io, styleOf(call), builds, shown, ({ number }) => `${number}`);
  if (more) call.io.err("There are more\n");
}

export async function buildStatistics(
  call: AnyCall & {
    readonly flags: {
      readonly from?: string | undefined;
      readonly to?: string | undefined;
      readonly app?: string | undefined;
    };
  },
): Promise<void> {
  const { from, to, app } = call.flags;
  const query = {
    ...(from === undefined ? {} : { from }),
    ...(to === undefined ? {} : { to }),
    ...(app === undefined ? {} : { appId: app }),
  };
  const told = await gatewayOf(call).call("buildStatistics", { query });
  const spread = (of: typeof told.commitMs) =>
    of && `${of.median} ms in the middle, ${of.most95} ms for 95 of 100, ${of.most} ms at most`;
  await printOne(
    call.io,
    styleOf(call),
    told,
    (all) =>
      facts([
        ["builds", all.builds],
        ["published", all.published],
        ["failed", all.failed],
        ["success", all.successRate === undefined ? undefined : `${Math.round(all.successRate * 100)} %`],
        ["to commit", spread(all.commitMs)],
        ["to publish", spread(all.publishMs)],
      ]),
    () => "builds",
  );
}
