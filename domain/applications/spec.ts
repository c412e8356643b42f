/**
 * What people ask of an application: filled up with what they left out, and checked. The limits stand here as well as in
 * the contract, because commands also come from where no HTTP was.
 */
import type { ApplicationSpec, Build, Runtime, Source } from "@millrace/contracts/applications/entities.ts";
import {
  hostFault,
  refFault,
  repositoryFault,
  repositoryPathFault,
  serverPathFault,
} from "@millrace/contracts/applications/git.ts";
import { bytesOf, DEFAULTS, LIMITS, PATTERNS, RANGES, SLOTS } from "@millrace/contracts/applications/values.ts";
import { isId } from "@millrace/contracts/ids.ts";
import { type Refusal, rule } from "../decider.ts";
import { type Check, Faults, says } from "../faults.ts";
import type { ApplicationInput, ChangeApplication } from "./application-command.ts";
import { checkCredentials, credentialsInClear, secretId } from "./source-credentials.ts";

/** The part of a record that was given: a field with `undefined` is left out. */
const given = <T extends object>(part: T | undefined): Given<T> =>
  Object.fromEntries(Object.entries(part ?? {}).filter(([, value]) => value !== undefined)) as Given<T>;

type Given<T> = { -readonly [K in keyof T]?: Exclude<T[K], undefined> };

const sourceOf = (input: ApplicationInput["source"]): Source =>
  ({ ...(input.kind === "upload" ? {} : { ref: DEFAULTS.ref }), ...given(input) }) as Source;

/** The branch, tag, commit or upload that a source names. */
export const refOf = (source: Source): string => (source.kind === "upload" ? source.upload : source.ref);

/** Where a source is had from, in one word. */
export const placeOf = (source: Source): string =>
  source.kind === "git" ? source.url : source.kind === "path" ? source.path : `the upload ${source.upload}`;

const buildOf = (input: ApplicationInput["build"]): Build => ({ ...DEFAULTS[input.kind], ...given(input) }) as Build;

/** The whole of what is asked for, where people wrote a part. */
export function withDefaults(input: ApplicationInput): ApplicationSpec {
  const { name, title, source, build, runtime, health, domains = [], policy, node, wanted = "running" } = input;
  const runs = build.kind === "dockerfile" || runtime !== undefined;
  return {
    name,
    ...(title === undefined ? {} : { title }),
    source: sourceOf(source),
    build: buildOf(build),
    ...(runs ? { runtime: { ...DEFAULTS.runtime, ...given(runtime) } as Runtime } : {}),
    health: { ...DEFAULTS.health, ...given(health) },
    domains: [...new Set(domains)],
    policy: { ...DEFAULTS.policy, ...given(policy) },
    ...(node === undefined ? {} : { node }),
    wanted,
  };
}

/** What is asked for after a change. */
export function changedSpec(spec: ApplicationSpec, change: ChangeApplication): ApplicationSpec {
  const { title: _title, node: _node, ...kept } = spec;
  const title = change.title === undefined ? spec.title : (change.title ?? undefined);
  const node = change.node === undefined ? spec.node : (change.node ?? undefined);
  const { source, build, runtime, health, domains, policy } = change;
  return {
    ...kept,
    ...(title === undefined ? {} : { title }),
    ...(node === undefined ? {} : { node }),
    ...(source === undefined ? {} : { source: sourceOf(source) }),
    ...(build === undefined ? {} : { build: buildOf(build) }),
    ...(runtime === undefined ? {} : { runtime: { ...spec.runtime, ...given(runtime) } as Runtime }),
    ...(health === undefined ? {} : { health: { ...spec.health, ...given(health) } }),
    ...(domains === undefined ? {} : { domains: [...new Set(domains)] }),
    ...(policy === undefined ? {} : { policy: { ...spec.policy, ...given(policy) } }),
  };
}

const name = says((value) => PATTERNS.node.test(value), "lower-case letters, digits and hyphens; at most 63");
const title = says((value) => PATTERNS.title.test(value), `one line of 1 to ${LIMITS.title} characters`);
const uploadId = says((value) => isId("upl", value), "the id of an upload, `upl_…`");
const user = says((value) => PATTERNS.user.test(value), "a user, or user and group, by name or number");
const variable = says(
  (value) => PATTERNS.variable.test(value),
  "letters, digits and underscores, not beginning with a digit; at most 100",
);
const value = says(
  (text) => PATTERNS.value.test(text) && bytesOf(text) <= LIMITS.valueBytes,
  `at most ${LIMITS.valueBytes} bytes of UTF-8 without NUL`,
);
const httpPath = says((text) => PATTERNS.httpPath.test(text), "a path that begins with /, at most 500 characters");

/** @returns what is wrong with it: a place each, or a rule that it breaks; undefined: nothing */
export function checkSpec(spec: ApplicationSpec): Refusal | undefined {
  const faults = new Faults().check("/name", name, spec.name).check("/title", title, spec.title);
  faults.check("/node", name, spec.node);
  if (spec.wanted !== "running" && spec.wanted !== "stopped") faults.add("/wanted", "`running` or `stopped`");
  checkSource(faults, spec.source);
  checkBuild(faults, spec.build);
  if (spec.build.kind === "dockerfile") checkRuntime(faults, spec.runtime);
  else if (spec.runtime !== undefined) faults.add("/runtime", "a static site has no containers: leave it out");
  faults.check("/health/path", httpPath, spec.health.path);
  checkNumbers(faults, "/health", spec.health, ["intervalMs", "timeoutMs", "retries", "successes"]);
  checkNumbers(faults, "/policy", spec.policy, [
    "progressDeadlineMs",
    "healthyDeadlineMs",
    "minHealthyTimeMs",
    "keepReleases",
  ]);
  if (typeof spec.policy.autoRevert !== "boolean") faults.add("/policy/autoRevert", "true or false");
  faults.most("/domains", spec.domains.length, LIMITS.domains).each("/domains", hostFault, spec.domains);
  return faults.refusal() ?? consistent(spec);
}

function checkSource(faults: Faults, source: Source): void {
  if (source.kind === "upload") {
    faults.check("/source/upload", uploadId, source.upload ?? "");
    return;
  }
  faults.check("/source/ref", refFault, source.ref);
  if (source.kind === "path") {
    faults.check("/source/path", serverPathFault, source.path ?? "");
    return;
  }
  if (source.kind !== "git") {
    faults.add("/source/kind", "`git`, `path` or `upload`");
    return;
  }
  faults.check("/source/url", repositoryFault, source.url ?? "");
  checkCredentials(faults, "/source/credentials", source.url ?? "", source.credentials);
}

function checkBuild(faults: Faults, build: Build): void {
  switch (build.kind) {
    case "static":
      faults.check("/build/folder", repositoryPathFault, build.folder);
      faults.check("/build/index", file, build.index).check("/build/notFound", file, build.notFound);
      if (typeof build.spa !== "boolean") faults.add("/build/spa", "true or false");
      return;
    case "dockerfile":
      faults.check("/build/dockerfile", file, build.dockerfile);
      faults.check("/build/context", repositoryPathFault, build.context);
      checkVariables(faults, "/build/args", build.args ?? {});
      return;
    default:
      faults.add("/build/kind", "`static` or `dockerfile`");
  }
}

const file: Check = (path) => repositoryPathFault(path) ?? (path === "." ? "a file, not the root" : undefined);

function checkVariables(faults: Faults, pointer: string, variables: Runtime["env"]): void {
  const entries = Object.entries(variables);
  faults.most(pointer, entries.length, LIMITS.variables);
  let bytes = 0;
  for (const [key, content] of entries.slice(0, LIMITS.variables)) {
    const place = `${pointer}/${key.slice(0, 100).replaceAll("~", "~0").replaceAll("/", "~1")}`;
    faults.check(place, variable, key);
    if (typeof content === "string") faults.check(place, value, content);
    else faults.check(`${place}/secret`, secretId, content?.secret ?? "");
    bytes += bytesOf(key) + (typeof content === "string" ? bytesOf(content) : 0);
  }
  if (bytes > LIMITS.variablesBytes) {
    faults.add(pointer, `names and values have ${bytes} bytes together, and may have ${LIMITS.variablesBytes}`);
  }
}

function checkRuntime(faults: Faults, runtime: Runtime | undefined): void {
  if (runtime === undefined || runtime.port === undefined) {
    faults.add("/runtime/port", "the port that the application listens on inside its container is needed");
    return;
  }
  checkNumbers(faults, "/runtime", runtime, ["port", "memoryBytes", "cpus", "processes", "stopTimeoutMs"]);
  checkInstances(faults, "/runtime/instances", runtime.instances);
  faults.check("/runtime/user", user, runtime.user);
  checkVariables(faults, "/runtime/env", runtime.env);
}

export const checkInstances = (faults: Faults, pointer: string, count: number): Faults =>
  Number.isInteger(count) && count >= 1 && SLOTS % count === 0 ? faults : faults.add(pointer, "1, 2, 3, 4, 6 or 12");

function checkNumbers<N extends keyof typeof RANGES>(
  faults: Faults,
  pointer: string,
  numbers: { readonly [K in N]: number },
  names: ReadonlyArray<N>,
): void {
  for (const field of names) {
    const [least, most] = RANGES[field];
    const number = numbers[field];
    const whole = field === "cpus" ? Number.isFinite(number) : Number.isSafeInteger(number);
    if (!whole || number < least || number > most) faults.add(`${pointer}/${field}`, `a number of ${least} to ${most}`);
  }
}

function consistent({ source, policy }: ApplicationSpec): Refusal | undefined {
  if (policy.minHealthyTimeMs >= policy.healthyDeadlineMs) {
    return rule(
      "policy-contradicts-itself",
      `It is to stay healthy for ${policy.minHealthyTimeMs} ms, and to be done after ${policy.healthyDeadlineMs} ms.`,
      "Make healthyDeadlineMs longer than minHealthyTimeMs.",
    );
  }
  if (source.kind === "git") return credentialsInClear(source.url, source.credentials);
  return undefined;
}
