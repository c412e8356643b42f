/** Schedules and rules: created by flags or from files, looked at, switched. */
import { confirm } from "../ask.ts";
import { usage } from "../failure.ts";
import { gatewayOf } from "../gateway.ts";
import { oneLine } from "../io.ts";
import { facts, printList, printOne } from "../output.ts";
import { styleOf } from "../run.ts";
import type { AnyCall } from "../table.ts";
import type { Answer, RequestOf } from "../typed.ts";
import { definitionIn } from "./work-types.ts";

type Schedule = Answer<"getSchedule">;
type Rule = Answer<"getRule">;
type When = Rule["spec"]["when"];
type Outcome = NonNullable<Schedule["status"]["last"]>["outcomes"][number];
interface Given {
  readonly file?: string | undefined;
  readonly seen?: number | undefined;
  readonly cron?: string | undefined;
  readonly zone?: string | undefined;
  readonly at?: string | undefined;
  readonly every?: number | undefined;
  readonly do?: string | undefined;
  readonly on?: string | undefined;
  readonly body?: string | undefined;
}
type Of<F, A = unknown> = AnyCall & { readonly flags: F; readonly args: A };

function whenText(when: When): string {
  switch (when.kind) {
    case "event":
      return `on ${when.types.join(", ")} of ${when.context}`;
    case "cron":
      return `${when.expression} (${when.timeZone})`;
    case "sun": {
      const { event, latitude, longitude, offsetMinutes: min } = when;
      const moved = min === 0 ? "" : `${Math.abs(min)} min ${min < 0 ? "before" : "after"} `;
      return `${moved}${event} at ${latitude}, ${longitude}`;
    }
    case "once":
      return `once at ${when.at}`;
    case "interval":
      return `every ${when.everyMs / 1_000} s from ${when.from}`;
  }
}

const commandsText = (commands: ReadonlyArray<{ readonly action: string; readonly on?: string }>): string =>
  `does\n${commands.map(({ action, on, ...rest }) => `  ${[action, on, JSON.stringify((rest as { body?: unknown }).body)].filter(Boolean).join(" ")}`).join("\n")}\n`;

const outcomesText = (outcomes: ReadonlyArray<Outcome>): string =>
  outcomes
    .map(
      ({ action, outcome, made, reason }) =>
        `  ${[action, outcome, made, oneLine(reason ?? "")].filter(Boolean).join(" ")}\n`,
    )
    .join("");

export function scheduleText({ id, spec, status, maker, generation }: Schedule): string {
  const { last } = status;
  return [
    facts([
      ["name", spec.name],
      ["title", spec.title],
      ["id", id],
      ["state", status.state],
      ["when", whenText(spec.when)],
      ["next", status.nextDueAt],
      ["jitter", spec.jitterMs === 0 ? undefined : `${spec.jitterMs} ms`],
      ["missed", spec.missed.policy === "all" ? `all, up to ${spec.missed.most}` : spec.missed.policy],
      ["by", maker.name],
      ["done", status.firings],
      ["failures", status.failures],
      ["passed over", status.skipped],
      ["generation", generation],
    ]),
    commandsText(spec.commands),
    ...(last === undefined ? [] : [`last, due ${last.due}\n${outcomesText(last.outcomes)}`]),
  ].join("\n");
}

export function ruleText({ id, spec, status, maker, generation }: Rule): string {
  const runs = status.last.map(({ at, event, fault, outcomes }) => {
    const about = event === undefined ? "" : ` ${event.type} of ${event.entity}`;
    return `${at}${about}${fault === undefined ? "" : ` ${oneLine(fault)}`}\n${outcomesText(outcomes)}`;
  });
  return [
    facts([
      ["name", spec.name],
      ["title", spec.title],
      ["id", id],
      ["state", status.state],
      ["when", whenText(spec.when)],
      ["if", spec.condition === undefined ? undefined : oneLine(spec.condition)],
      ["next", status.nextDueAt],
      ["by", maker.name],
      ["done", status.triggers],
      ["failures", status.failures],
      ["passed over", status.passedOver],
      ["generation", generation],
    ]),
    commandsText(spec.commands),
    ...(runs.length === 0 ? [] : [`last\n${runs.join("")}`]),
  ].join("\n");
}

const printSchedule = (call: AnyCall, schedule: Schedule) =>
  printOne(call.io, styleOf(call), schedule, scheduleText, ({ spec }) => spec.name);
const printRule = (call: AnyCall, rule: Rule) =>
  printOne(call.io, styleOf(call), rule, ruleText, ({ spec }) => spec.name);

/** What the flags say of times and commands; nothing where they say nothing. */
function byFlags({ cron, zone, at, every, do: action, on, body }: Given): Record<string, unknown> {
  const times = [
    ...(cron === undefined ? [] : [{ kind: "cron", expression: cron, timeZone: zone ?? "UTC" }]),
    ...(at === undefined ? [] : [{ kind: "once", at }]),
    ...(every === undefined ? [] : [{ kind: "interval", everyMs: every * 1_000 }]),
  ];
  if (times.length > 1) throw usage("Only one of --cron, --at and --every", "Make a schedule for each");
  let read: unknown;
  try {
    read = body === undefined ? undefined : JSON.parse(body);
  } catch (error) {
    throw usage(`--body is no JSON: ${(error as Error).message}`, `--body '{"ref": "main"}'`);
  }
  const command = { action, ...(on === undefined ? {} : { on }), ...(read === undefined ? {} : { body: read }) };
  return {
    ...(times.length === 0 ? {} : { when: times[0] }),
    ...(action === undefined ? {} : { commands: [command] }),
  };
}

const FROM_SHOWN = "mill schedules show NAME -o json > my.json; edit it; --file my.json";

/** `paused` and `enabled` are switched, not written, once it is there. */
async function changed(call: Of<Given>): Promise<Record<string, unknown>> {
  const { name: _, paused: __, enabled: ___, ...spec } = await definitionIn(call, call.flags.file, FROM_SHOWN);
  return spec;
}

export async function createSchedule(call: Of<Given, { readonly name?: string | undefined }>): Promise<void> {
  const { file } = call.flags;
  const { name } = call.args;
  const flags = byFlags(call.flags);
  if (file === undefined && (name === undefined || !("when" in flags) || !("commands" in flags))) {
    throw usage("A name, a time and --do are needed, or --file", "mill schedules create --help");
  }
  const given = file === undefined ? {} : await definitionIn(call, file, FROM_SHOWN);
  const payload = { ...given, ...(name === undefined ? {} : { name }), ...flags };
  await printSchedule(
    call,
    await gatewayOf(call).call("createSchedule", {
      payload: payload as unknown as RequestOf<"createSchedule">["payload"],
    }),
  );
}

export async function changeSchedule(call: Of<Given, { readonly schedule: string }>): Promise<void> {
  const given = call.flags.file === undefined ? {} : await changed(call);
  const payload = { ...given, ...byFlags(call.flags) };
  if (Object.keys(payload).length === 0) throw usage("Nothing is to be changed", "mill schedules change --help");
  const params = { id: call.args.schedule };
  await printSchedule(call, await gatewayOf(call).call("changeSchedule", { params, seen: call.flags.seen, payload }));
}

const ACTS = { pause: "pauseSchedule", resume: "resumeSchedule", run: "runSchedule" } as const;

export async function act(
  call: Of<{ readonly seen?: number | undefined }, { readonly schedule: string }>,
  verb: keyof typeof ACTS,
): Promise<void> {
  const params = { id: call.args.schedule };
  await printSchedule(call, await gatewayOf(call).call(ACTS[verb], { params, seen: call.flags.seen }));
}

export async function next(
  call: Of<{ readonly limit?: number | undefined }, { readonly schedule: string }>,
): Promise<void> {
  const { limit } = call.flags;
  const query = limit === undefined ? {} : { limit };
  const { items } = await gatewayOf(call).call("dueTimesOfSchedule", { params: { id: call.args.schedule }, query });
  const shown = [
    { title: "due", value: (row: (typeof items)[number]) => row.due },
    { title: "done at", value: (row: (typeof items)[number]) => row.at },
  ];
  await printList(call.io, styleOf(call), items, shown, ({ at }) => at);
  if (items.length === 0) call.io.err("It is not due any more\n");
}

export async function removeSchedule(
  call: Of<{ readonly seen?: number | undefined }, { readonly schedule: string }>,
): Promise<void> {
  const { schedule } = call.args;
  await confirm(call, `Delete the schedule ${schedule}`, schedule);
  await gatewayOf(call).call("deleteSchedule", { params: { id: schedule }, seen: call.flags.seen });
  call.io.err(`Deleted ${schedule}\n`);
}

export async function createRule(call: Of<Given>): Promise<void> {
  const payload = await definitionIn(call, call.flags.file, "mill rules create --help");
  await printRule(
    call,
    await gatewayOf(call).call("createRule", { payload: payload as unknown as RequestOf<"createRule">["payload"] }),
  );
}

export async function changeRule(call: Of<Given, { readonly rule: string }>): Promise<void> {
  const payload = await changed(call);
  const params = { id: call.args.rule };
  await printRule(call, await gatewayOf(call).call("changeRule", { params, seen: call.flags.seen, payload }));
}

const SWITCHES = { enable: "enableRule", disable: "disableRule" } as const;

export async function switchRule(
  call: Of<{ readonly seen?: number | undefined }, { readonly rule: string }>,
  verb: keyof typeof SWITCHES,
): Promise<void> {
  const params = { id: call.args.rule };
  await printRule(call, await gatewayOf(call).call(SWITCHES[verb], { params, seen: call.flags.seen }));
}

interface Span {
  readonly from?: string | undefined;
  readonly to?: string | undefined;
  readonly limit?: number | undefined;
}

const PAGE = 200;

export async function dryRun(call: Of<Span, { readonly rule: string }>): Promise<void> {
  const { from, to, limit = 50 } = call.flags;
  const gateway = gatewayOf(call);
  const items: Answer<"dryRunRule">["items"][number][] = [];
  let looked = 0;
  // The end of the stretch is the same for every page.
  const span = { ...(from === undefined ? {} : { from }), to: to ?? new Date().toISOString() };
  let cursor: string | undefined;
  do {
    const query = { ...span, limit: Math.min(PAGE, limit - items.length), ...(cursor === undefined ? {} : { cursor }) };
    const page = await gateway.call("dryRunRule", { params: { id: call.args.rule }, query });
    items.push(...page.items);
    looked += page.looked;
    cursor = page.nextCursor;
  } while (cursor !== undefined && items.length < limit);
  type Item = (typeof items)[number];
  const shown = [
    { title: "at", value: (row: Item) => row.at },
    { title: "event", value: ({ event }: Item) => (event === undefined ? "" : `${event.type} ${event.entity}`) },
    {
      title: "would do",
      value: ({ commands, fault }: Item) =>
        oneLine(fault ?? commands.map(({ action, on }) => `${action} ${on ?? ""}`).join(", ")),
    },
  ];
  await printList(call.io, styleOf(call), items, shown, ({ at }) => at);
  call.io.err(
    `${items.length} times of ${looked} looked at${cursor === undefined ? "" : "; there are more: --limit"}\n`,
  );
}

export async function removeRule(
  call: Of<{ readonly seen?: number | undefined }, { readonly rule: string }>,
): Promise<void> {
  const { rule } = call.args;
  await confirm(call, `Delete the rule ${rule}`, rule);
  await gatewayOf(call).call("deleteRule", { params: { id: rule }, seen: call.flags.seen });
  call.io.err(`Deleted ${rule}\n`);
}
