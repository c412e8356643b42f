/**
 * What an application says of itself in its file `metadata`: a key file. The one reader of it, for commits in a repository (their
 * `xa.metadata`), for what is compared before publishing, and for what a manifest would come to.
 */

export type KeyFile = ReadonlyMap<string, ReadonlyMap<string, string>>;

/** A key file as flatpak writes them: `[Group]`, `key=value`, comments. What is neither is passed over. */
export function parseKeyFile(text: string): KeyFile {
  const groups = new Map<string, Map<string, string>>();
  let group: Map<string, string> | undefined;
  for (const line of text.split(/\r?\n/)) {
    const head = /^\[([^\]]+)\]\s*$/.exec(line)?.[1];
    if (head !== undefined) {
      group = groups.get(head) ?? new Map();
      groups.set(head, group);
      continue;
    }
    const at = line.indexOf("=");
    if (line.startsWith("#") || at < 1) continue;
    group?.set(line.slice(0, at).trim(), line.slice(at + 1).trim());
  }
  return groups;
}

/** Groups of `metadata` whose keys are names on a bus. */
export const BUSES = ["Session Bus Policy", "System Bus Policy", "Accessibility Bus Policy"] as const;

/** What an application may do, one by one: `shared=network`, `filesystems=home`, `Session Bus Policy: org.a.B=talk`; sorted. */
export function permissionsOf(metadata: KeyFile): string[] {
  const context = [...(metadata.get("Context") ?? [])].flatMap(([key, value]) =>
    value
      .split(";")
      .filter((item) => item !== "")
      .map((item) => `${key}=${item}`),
  );
  const buses = BUSES.flatMap((bus) =>
    [...(metadata.get(bus) ?? [])].map(([name, policy]) => `${bus}: ${name}=${policy}`),
  );
  const environment = [...(metadata.get("Environment") ?? [])].map(([key, value]) => `environment ${key}=${value}`);
  return [...context, ...buses, ...environment].sort();
}

export const runtimeOf = (metadata: KeyFile): string | undefined =>
  metadata.get("Application")?.get("runtime") ?? metadata.get("Runtime")?.get("runtime");

/** What a commit's `metadata` says, short. */
export interface MetadataFacts {
  readonly kind: "app" | "runtime";
  readonly id: string;
  /** `org.test.Platform/x86_64/1`; undefined where it says none. */
  readonly runtime: string | undefined;
  readonly sdk: string | undefined;
  readonly command: string | undefined;
  readonly permissions: ReadonlyArray<string>;
  /** Extension points that it opens: `org.test.Hello.Locale`. */
  readonly extensions: ReadonlyArray<string>;
}

/** @returns undefined for a text that describes neither an application nor a runtime */
export function metadataFacts(text: string): MetadataFacts | undefined {
  const file = parseKeyFile(text);
  const application = file.get("Application");
  const group = application ?? file.get("Runtime");
  const id = group?.get("name");
  if (group === undefined || id === undefined) return undefined;
  return {
    kind: application === undefined ? "runtime" : "app",
    id,
    runtime: group.get("runtime"),
    sdk: group.get("sdk"),
    command: group.get("command"),
    permissions: permissionsOf(file),
    extensions: [...file.keys()].filter((name) => name.startsWith("Extension ")).map((name) => name.slice(10)),
  };
}
