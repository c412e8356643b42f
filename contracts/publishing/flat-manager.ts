/** The configuration file of flat-manager, read as it is: what its users have, and what this product makes of it. */
import * as Schema from "effect/Schema";

const { optionalKey, NullOr } = Schema;
const Text = Schema.String.check(Schema.isMaxLength(4_096));
const Count = Schema.Int.check(Schema.isBetween({ minimum: 0, maximum: 2 ** 31 - 1 }));
const Argv = Schema.Array(Text);

const BASE64 = /^[A-Za-z0-9+/]*={0,2}$/;
/** Bytes in base 64, at least one. */
const Secret = Text.check(
  Schema.makeFilter((text) => BASE64.test(text) && text.length >= 2 && text.length % 4 !== 1, {
    description: "base 64",
  }),
);

/** What is said once or several times. */
const Keys = NullOr(Schema.Union([Text, Schema.Array(Text)]));

const Subset = Schema.Struct({ "collection-id": optionalKey(NullOr(Text)), "base-url": optionalKey(NullOr(Text)) });
const Check = Schema.Struct({ command: Argv, reviewable: optionalKey(Schema.Boolean) });
const Hooks = Schema.Struct({
  publish: optionalKey(NullOr(Argv)),
  checks: optionalKey(Schema.Record(Schema.String, Check)),
});
const Deltas = Schema.Struct({
  id: optionalKey(Schema.Array(Text)),
  arch: optionalKey(Schema.Array(Text)),
  depth: Count,
});

export const FlatManagerRepo = Schema.Struct({
  path: Text,
  "suggested-repo-name": optionalKey(NullOr(Text)),
  "collection-id": optionalKey(NullOr(Text)),
  "deploy-collection-id": optionalKey(Schema.Boolean),
  "gpg-key": optionalKey(Keys),
  "base-url": optionalKey(NullOr(Text)),
  "runtime-repo-url": optionalKey(NullOr(Text)),
  subsets: Schema.Record(Schema.String, Subset),
  "post-publish-script": optionalKey(NullOr(Text)),
  hooks: optionalKey(Hooks),
  deltas: optionalKey(Schema.Array(Deltas)),
  "appstream-delta-depth": optionalKey(Count),
  "default-token-type": optionalKey(Schema.Int),
  "require-auth-for-token-types": optionalKey(Schema.Array(Schema.Int)),
});
export type FlatManagerRepo = typeof FlatManagerRepo.Type;

export const FlatManagerConfig = Schema.Struct({
  "database-url": optionalKey(Text),
  host: optionalKey(Text),
  port: optionalKey(Count),
  "base-url": optionalKey(NullOr(Text)),
  "gpg-homedir": optionalKey(NullOr(Text)),
  secret: Secret,
  "repo-secret": optionalKey(NullOr(Secret)),
  "token-prefix": optionalKey(NullOr(Text)),
  "build-repo-base": optionalKey(Text),
  "build-gpg-key": optionalKey(Keys),
  "delay-update-secs": optionalKey(Count),
  "local-delta-threads": optionalKey(Count),
  workers: optionalKey(NullOr(Count)),
  "storefront-info-endpoint": optionalKey(NullOr(Text)),
  repos: Schema.Record(Schema.String, FlatManagerRepo),
});
export type FlatManagerConfig = typeof FlatManagerConfig.Type;

/** Of what stands in the file here: is done by other means, or not at all. */
export const NOT_TAKEN_OVER: Readonly<Record<string, string>> = {
  "database-url": "what was built before stays where it is; numbers begin anew",
  host: "the gateway listens where it is told to (MILLRACE_HOST)",
  port: "the gateway listens where it is told to (MILLRACE_PORT)",
  "gpg-homedir": "keys are sealed in the log: import them",
  "build-gpg-key": "each repository signs its builds with its own key",
  "build-repo-base": "builds lie in the publisher's folder",
  "delay-update-secs": "updates of summaries are put together by themselves",
  "local-delta-threads": "deltas are made by the publisher",
  workers: "one process serves all",
  "storefront-info-endpoint": "end of life and token types are given with the commit",
  "repos.path": "repositories lie in the publisher's folder",
  "repos.gpg-key": "each repository has a key of its own: import yours",
  "repos.subsets": "not used by flat-manager either",
  "repos.post-publish-script": "use a webhook or a rule",
  "repos.hooks": "use checks of the platform, webhooks or rules",
};

/**
 * The name that a repository of the file has here: `Stable_x` is `stable-x`.
 * @returns undefined where none can be made of it
 */
export function repositoryNameOf(name: string): string | undefined {
  const made = name
    .toLowerCase()
    .replaceAll(/[^a-z0-9]+/g, "-")
    .replaceAll(/^-+|-+$/g, "");
  return /^[a-z0-9][a-z0-9-]{0,62}$/.test(made) ? made : undefined;
}

/** Said by JSON pointer, without values: some are secrets. */
export interface ConfigFault {
  readonly pointer: string;
  readonly detail: string;
}

/** @returns the configuration, or all that is wrong with it: unknown keys, too */
export function readFlatManagerConfig(
  text: string,
): FlatManagerConfig | { readonly faults: ReadonlyArray<ConfigFault> } {
  let raw: unknown;
  try {
    raw = JSON.parse(text);
  } catch {
    return { faults: [{ pointer: "", detail: "is no JSON" }] };
  }
  const faults = unknownKeys(raw);
  const decoded = Schema.decodeUnknownResult(FlatManagerConfig, { errors: "all" })(raw);
  if (decoded._tag === "Failure") faults.push(...faultsOf(raw));
  else faults.push(...nameFaults(decoded.success));
  return decoded._tag === "Success" && faults.length === 0 ? decoded.success : { faults };
}

const KNOWN = new Set(Object.keys(FlatManagerConfig.fields));
const KNOWN_OF_REPO = new Set(Object.keys(FlatManagerRepo.fields));
const isObject = (value: unknown): value is Record<string, unknown> =>
  typeof value === "object" && value !== null && !Array.isArray(value);
const FAULTS_MOST = 50;
const escaped = (key: string): string => key.slice(0, 100).replaceAll("~", "~0").replaceAll("/", "~1");

function unknownKeys(raw: unknown): ConfigFault[] {
  if (!isObject(raw)) return [];
  const unknown = (value: Record<string, unknown>, known: ReadonlySet<string>, at: string) =>
    Object.keys(value)
      .filter((key) => !known.has(key))
      .map((key) => ({ pointer: `${at}/${escaped(key)}`, detail: "is no key of flat-manager" }));
  const { repos } = raw;
  const ofRepos = isObject(repos) ? Object.entries(repos) : [];
  return [
    ...unknown(raw, KNOWN, ""),
    ...ofRepos.flatMap(([name, repo]) =>
      isObject(repo) ? unknown(repo, KNOWN_OF_REPO, `/repos/${escaped(name)}`) : [],
    ),
  ].slice(0, FAULTS_MOST);
}

/** Key by key, so that each fault has its place and no value is repeated. */
function faultsOf(raw: unknown): ConfigFault[] {
  if (!isObject(raw)) return [{ pointer: "", detail: "is no object" }];
  const faults: ConfigFault[] = [];
  const check = (fields: Record<string, Schema.Top>, value: Record<string, unknown>, at: string) => {
    for (const [key, schema] of Object.entries(fields)) {
      if (key === "repos") continue;
      const fits = Schema.decodeUnknownResult(Schema.Struct({ [key]: schema }) as unknown as Schema.Codec<unknown>);
      if (fits(Object.hasOwn(value, key) ? { [key]: value[key] } : {})._tag === "Success") continue;
      faults.push({
        pointer: `${at}/${key}`,
        detail: Object.hasOwn(value, key) ? "is not what belongs there" : "is missing",
      });
    }
  };
  check(FlatManagerConfig.fields, raw, "");
  if (!isObject(raw.repos)) faults.push({ pointer: "/repos", detail: "is no object of repositories" });
  else {
    for (const [name, repo] of Object.entries(raw.repos)) {
      if (isObject(repo)) check(FlatManagerRepo.fields, repo, `/repos/${escaped(name)}`);
      else faults.push({ pointer: `/repos/${escaped(name)}`, detail: "is no object" });
    }
  }
  return faults.slice(0, FAULTS_MOST);
}

function nameFaults({ repos }: FlatManagerConfig): ConfigFault[] {
  const taken = new Map<string, string>();
  const faults: ConfigFault[] = [];
  for (const name of Object.keys(repos)) {
    const ours = repositoryNameOf(name);
    const pointer = `/repos/${escaped(name)}`;
    if (ours === undefined) faults.push({ pointer, detail: "no name of a repository can be made of it" });
    else if (taken.has(ours)) faults.push({ pointer, detail: `would be called ${ours}, as another is` });
    else taken.set(ours, name);
  }
  return faults;
}
