/** Repositories of Flatpaks. */
import { readFileSync } from "node:fs";
import { RETENTION_USUAL } from "@millrace/contracts/publishing/repository-parts.ts";
import { confirm } from "../ask.ts";
import { usage } from "../failure.ts";
import { gatewayOf } from "../gateway.ts";
import { facts, printList, printOne } from "../output.ts";
import { styleOf } from "../run.ts";
import type { AnyCall } from "../table.ts";
import type { Answer } from "../typed.ts";

type Repository = Answer<"getRepository">;
/** Flags that are settings, by the setting's name. */
const TEXTS = {
  title: "title",
  comment: "comment",
  description: "description",
  homepage: "homepage",
  icon: "icon",
  "default-branch": "defaultBranch",
  redirect: "redirectUrl",
} as const;
const RETENTION = {
  "keep-depth": "depth",
  "keep-snapshots": "snapshots",
  "prune-hours": "everyHours",
  "grace-hours": "graceHours",
} as const;
type Said<T> = { readonly [K in keyof T]?: T[K] | undefined };
type Flags = Said<
  Record<keyof typeof TEXTS, string> &
    Record<keyof typeof RETENTION, number> & {
      visibility: string;
      mirror: string;
      "mirror-key": readonly string[];
      "mirror-unsigned": boolean;
      "mirror-ref": readonly string[];
      "mirror-follow": string;
      "mirror-minutes": number;
      "no-mirror": boolean;
      review: string;
      reader: readonly string[];
      "no-retention": boolean;
      collection: string;
      key: string;
      overlap: number;
      seen: number;
      from: string;
      to: string;
      ref: string;
    }
>;
type Of<A> = AnyCall & { readonly flags: Flags; readonly args: A };
type OfRepository = Of<{ readonly repository: string }>;

export const repositoryText = ({ id, spec, status, generation }: Repository): string =>
  facts([
    ["name", spec.name],
    ["title", spec.title],
    ["comment", spec.comment],
    ["homepage", spec.homepage],
    ["id", id],
    ["state", `${status.state}${status.settled === false ? ", clients do not see all of it yet" : ""}`],
    ["why", status.failure && `${status.failure.reason} (${status.failure.code})`],
    ["fix", status.failure?.fix],
    ["url", status.url],
    ["visibility", spec.visibility ?? "public"],
    ["reviewed", spec.review],
    ["redirected to", spec.redirectUrl],
    ["default branch", spec.defaultBranch],
    ["collection", spec.collectionId],
    ["node", status.node],
    ["key", status.key && `${status.key.fingerprint} ${status.key.user}`],
    ["signs, too", status.otherKeys?.map(({ fingerprint, until }) => `${fingerprint} until ${until}`).join(", ")],
    ["key refused", status.keyFailure && `${status.keyFailure.reason} ${status.keyFailure.fix}`],
    [
      "checked",
      status.validation &&
        `${status.validation.at}: ${status.validation.objects} objects, ${status.validation.found} findings`,
    ],
    ...(status.validation?.findings ?? []).map(
      ({ what, name, reason }) => ["finding", `${what} ${name}: ${reason}`] as const,
    ),
    [
      "pruned",
      status.pruned &&
        `${status.pruned.at}: ${status.pruned.quarantined} objects into quarantine, ${status.pruned.deleted} deleted`,
    ],
    ["mirror of", spec.mirror && `${spec.mirror.url}, every ${spec.mirror.everyMinutes ?? 60} minutes`],
    [
      "looked at",
      status.mirror &&
        `${status.mirror.at}: ${status.mirror.refs} references followed, ${status.mirror.taken} here, ${status.mirror.found} findings`,
    ],
    ...(status.mirror?.findings ?? []).map(({ what, name, reason }) => [what, `${name}: ${reason}`] as const),
    ["generation", generation],
  ]);

const named = ({ spec }: { readonly spec: { readonly name: string } }): string => spec.name;
const print = (call: AnyCall, repository: Repository): Promise<void> =>
  printOne(call.io, styleOf(call), repository, repositoryText, named);
const paramsOf = ({ args }: OfRepository) => ({ id: args.repository });

/** `<token>=org.example.App,org.example.Other` */
function readerOf(text: string): { readonly token: string; readonly applications: string[] } {
  const [token, applications] = text.split("=");
  if (token === undefined || applications === undefined || applications === "") {
    throw usage(`"${text}" is no token with its applications`, "tok_…=org.example.App,org.example.Other");
  }
  return { token, applications: applications.split(",") };
}

/** A public key from a file: as text, armored or in base 64; of a `.flatpakrepo` that which is in it. */
function publicKeyIn(file: string): string {
  let bytes: Buffer;
  try {
    bytes = readFileSync(file);
  } catch (error) {
    throw usage(`The key cannot be read: ${(error as Error).message}`, "mill repos key stable | base64 -d > key.gpg");
  }
  const text = bytes.toString("latin1");
  if (text.includes("-----BEGIN ")) return text.trim();
  return /^GPGKey=(.+)$/m.exec(text)?.[1]?.trim() ?? bytes.toString("base64");
}

/** The whole of a mirror is said anew by `--mirror`; nothing is said without it. */
function mirrorOf(flags: Flags): { readonly mirror?: object | null } {
  if (flags["no-mirror"] === true) return { mirror: null };
  const { mirror: url, "mirror-key": keys = [], "mirror-ref": refs = [] } = flags;
  const more = ["mirror-unsigned", "mirror-follow", "mirror-minutes"] as const;
  if (url === undefined) {
    if (keys.length + refs.length === 0 && more.every((name) => (flags[name] ?? false) === false)) return {};
    throw usage("A mirror is said as a whole", "--mirror <url> --mirror-key <file> …");
  }
  const [unsigned, follow, everyMinutes] = more.map((name) => flags[name]);
  const mirror = {
    url,
    ...(keys.length === 0 ? {} : { gpgKeys: keys.map(publicKeyIn) }),
    ...(refs.length === 0 ? {} : { refs }),
    ...(unsigned === true ? { allowUnsigned: true } : {}),
    ...(follow === undefined ? {} : { follow }),
    ...(everyMinutes === undefined ? {} : { everyMinutes }),
  };
  return { mirror };
}

/** What flags say of the settings; an empty text takes off. */
function settingsOf(flags: Flags, empty: null | undefined): Record<string, unknown> {
  const said: Record<string, unknown> = {};
  for (const [flag, name] of Object.entries(TEXTS)) {
    const value = flags[flag as keyof typeof TEXTS];
    if (value !== undefined) said[name] = value === "" ? empty : value;
  }
  if (flags.visibility !== undefined) said.visibility = flags.visibility;
  if (flags.review !== undefined) said.review = flags.review;
  if (flags.reader !== undefined && flags.reader.length > 0) said.readers = flags.reader.map(readerOf);
  Object.assign(said, mirrorOf(flags));
  const kept = Object.entries(RETENTION).map(([flag, name]) => [name, flags[flag as keyof typeof RETENTION]] as const);
  if (kept.some(([, value]) => value !== undefined)) {
    said.retention = { ...RETENTION_USUAL, ...Object.fromEntries(kept.filter(([, value]) => value !== undefined)) };
  }
  if (flags["no-retention"] === true) said.retention = null;
  return Object.fromEntries(Object.entries(said).filter(([, value]) => value !== undefined));
}

function keyOf(file: string | undefined): { readonly secretKey?: string } {
  if (file === undefined) return {};
  try {
    return { secretKey: readFileSync(file, "utf8") };
  } catch (error) {
    throw usage(
      `The key cannot be read: ${(error as Error).message}`,
      "gpg --export-secret-keys --armor <fingerprint> > key.asc",
    );
  }
}

export async function createRepository(call: Of<{ readonly name: string }>): Promise<void> {
  const { collection, key } = call.flags;
  const payload = {
    name: call.args.name,
    ...settingsOf(call.flags, undefined),
    ...(collection === undefined ? {} : { collectionId: collection }),
    ...keyOf(key),
  };
  await print(call, await gatewayOf(call).call("createRepository", { payload }));
  call.io.err(`Next: mill repos show ${call.args.name} --wait settled=true\n`);
}

export async function changeRepository(call: OfRepository): Promise<void> {
  const payload = settingsOf(call.flags, null);
  if (Object.keys(payload).length === 0) throw usage("Nothing is to be changed", "mill repos change --help");
  const { seen } = call.flags;
  await print(call, await gatewayOf(call).call("changeRepository", { params: paramsOf(call), seen, payload }));
}

export async function deleteRepository(call: OfRepository): Promise<void> {
  const { repository } = call.args;
  await confirm(call, `Delete the repository ${repository} with all that was published in it`, repository);
  await gatewayOf(call).call("deleteRepository", { params: paramsOf(call), seen: call.flags.seen });
  call.io.err(`Deleted ${repository}\n`);
}

export const steerRepository =
  (verb: "retryRepository" | "validateRepository" | "pruneRepository") =>
  async (call: OfRepository): Promise<void> => {
    await print(call, await gatewayOf(call).call(verb, { params: paramsOf(call) }));
  };

export async function mirrorRepository(
  call: Of<{ readonly repository: string; readonly refs?: readonly string[] }>,
): Promise<void> {
  const { repository, refs = [] } = call.args;
  const payload = refs.length === 0 ? {} : { refs };
  await print(call, await gatewayOf(call).call("mirrorRepository", { params: { id: repository }, payload }));
}

export async function rotateKey(call: OfRepository): Promise<void> {
  const { key, overlap, seen } = call.flags;
  const payload = { ...keyOf(key), ...(overlap === undefined ? {} : { overlapDays: overlap }) };
  await print(call, await gatewayOf(call).call("rotateRepositoryKey", { params: paramsOf(call), seen, payload }));
}

export async function previewPrune(call: OfRepository): Promise<void> {
  const preview = await gatewayOf(call).call("previewPrune", { params: paramsOf(call) });
  const text = facts([
    ["objects", preview.objects],
    ["would go", `${preview.unreachable} (${preview.unreachableBytes} bytes)`],
    ["too young", preview.young],
    ["snapshots that would go", preview.snapshots.join(", ")],
    ["such as", preview.examples.slice(0, 3).join(", ")],
  ]);
  await printOne(
    call.io,
    styleOf(call),
    preview,
    () => text,
    () => call.args.repository,
  );
}

export async function showContents(call: OfRepository): Promise<void> {
  const { refs } = await gatewayOf(call).call("repositoryContents", { params: paramsOf(call) });
  const shown = [
    { title: "reference", value: (row: (typeof refs)[number]) => row.ref },
    { title: "commit", value: (row: (typeof refs)[number]) => row.commit.slice(0, 16) },
    { title: "at", value: (row: (typeof refs)[number]) => row.at },
    { title: "subsets", value: (row: (typeof refs)[number]) => row.subsets?.join(", ") },
    { title: "subject", value: (row: (typeof refs)[number]) => row.subject },
  ];
  await printList(call.io, styleOf(call), refs, shown, ({ ref }) => ref);
}

export async function showSnapshots(call: OfRepository): Promise<void> {
  const { snapshots } = await gatewayOf(call).call("repositoryContents", { params: paramsOf(call) });
  const shown = [
    { title: "snapshot", value: (row: (typeof snapshots)[number]) => row.snapshot },
    { title: "at", value: (row: (typeof snapshots)[number]) => row.at },
    { title: "url", value: (row: (typeof snapshots)[number]) => row.url },
  ];
  await printList(call.io, styleOf(call), snapshots, shown, ({ snapshot }) => snapshot);
}

export async function showStatistics(call: OfRepository): Promise<void> {
  const { from, to, ref } = call.flags;
  const query = {
    ...(from === undefined ? {} : { from }),
    ...(to === undefined ? {} : { to }),
    ...(ref === undefined ? {} : { ref }),
  };
  const { days, more } = await gatewayOf(call).call("repositoryStatistics", { params: paramsOf(call), query });
  const shown = [
    { title: "day", value: (row: (typeof days)[number]) => row.day },
    { title: "reference", value: (row: (typeof days)[number]) => row.ref },
    { title: "version", value: (row: (typeof days)[number]) => row.commit.slice(0, 16) },
    { title: "installs", value: (row: (typeof days)[number]) => row.installs },
    { title: "updates", value: (row: (typeof days)[number]) => row.updates },
  ];
  await printList(call.io, styleOf(call), days, shown, (row) => `${row.day} ${row.ref}`);
  if (more === true) call.io.err("There is more: ask for fewer days, or one reference\n");
}

export async function showRemote(call: OfRepository): Promise<void> {
  const remote = await gatewayOf(call).call("repositoryRemote", { params: paramsOf(call) });
  const { command, url } = remote;
  await printOne(
    call.io,
    styleOf(call),
    remote,
    () => `${command}\n`,
    () => url,
  );
}

/** The public keys, in the form that `gpg --import` and `--gpg-import=` take. */
export async function showKey(call: OfRepository): Promise<void> {
  const { status } = await gatewayOf(call).call("getRepository", { params: paramsOf(call) });
  if (status.key === undefined) throw usage("It has no key yet", `mill repos show ${call.args.repository}`);
  const keys = [status.key, ...(status.otherKeys ?? [])].map(({ publicKey }) => Buffer.from(publicKey, "base64"));
  const text = `${Buffer.concat(keys).toString("base64")}\n`;
  await printOne(
    call.io,
    styleOf(call),
    [status.key, ...(status.otherKeys ?? [])],
    () => text,
    () => status.key!.fingerprint,
  );
}
