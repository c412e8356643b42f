/** A build from a manifest: what is asked for, what stands in its spec, and what came of building it. */
import * as Schema from "effect/Schema";
import { Credentials } from "../applications/entities.ts";
import { Id } from "../ids.ts";

const { optionalKey } = Schema;
const text = (description: string) => Schema.String.annotate({ description });
const count = (description: string) => Schema.Int.annotate({ description });

export const MANIFEST_SOURCE_LIMITS = { arches: 8, needs: 20, subsets: 10, findings: 100, differing: 100 } as const;
export const MANIFEST_SOURCE_PATTERNS = {
  /** Below the source's root. */
  manifest: /^[^\p{Cc}\\/.][^\p{Cc}\\]{0,295}\.(json|ya?ml)$/u,
  url: /^[\x21-\x7e]{1,2000}$/u,
  ref: /^[^-\p{Cc}\s][^\p{Cc}\s]{0,254}$/u,
  arch: /^[a-z0-9_]{1,64}$/u,
  branch: /^[A-Za-z0-9_][A-Za-z0-9._-]{0,99}$/u,
  /** Without `-`: clients ask for `<subset>-<arch>`. */
  subset: /^[A-Za-z0-9_]{1,64}$/u,
  build: /^bld_[0-9a-hjkmnp-tv-z]{26}$/u,
} as const;
const P = MANIFEST_SOURCE_PATTERNS;
const matching = (pattern: RegExp, description: string, example: string) =>
  Schema.String.check(Schema.isPattern(pattern)).annotate({ description, examples: [example] });

export const Subsets = Schema.Array(matching(P.subset, "Letters, digits and _", "verified"))
  .check(Schema.isMinLength(1), Schema.isMaxLength(MANIFEST_SOURCE_LIMITS.subsets))
  .annotate({
    description:
      "Subsets of the repository that its references belong to: who adds the remote with `--subset` sees those alone. What the commits say unless said here",
  });

/** As it stands in the spec; looser than what may be asked for. */
export const ManifestSource = Schema.Struct({
  type: Schema.Literal("manifest"),
  manifest: text("Path of flatpak-builder's manifest in the source"),
  git: optionalKey(
    Schema.Struct({
      url: text("The repository"),
      ref: text("Branch, tag or commit"),
      credentials: optionalKey(
        Schema.Struct({
          secret: text("Id of the secret"),
          kind: Schema.Literals(["token", "ssh-key"]),
          user: optionalKey(Schema.String),
        }),
      ),
    }),
  ),
  upload: optionalKey(
    Schema.Struct({ id: text("The upload"), sha256: text("Its content"), node: text("Where it lies") }),
  ),
  arches: optionalKey(Schema.Array(Schema.String)),
  branch: optionalKey(text("Where the manifest names none")),
  needs: optionalKey(Schema.Array(Schema.String)),
  twice: optionalKey(Schema.Boolean),
  subsets: optionalKey(Schema.Array(Schema.String)),
}).annotate({ title: "Manifest", description: "Built here by flatpak-builder, in a sandbox without a network" });

export const AskManifest = Schema.Struct({
  type: Schema.Literal("manifest"),
  manifest: matching(P.manifest, "Path of flatpak-builder's manifest in the source", "org.example.Hello.yml"),
  git: optionalKey(
    Schema.Struct({
      url: matching(
        P.url,
        "https, http, ssh or git; or a path below the node's folders for it",
        "https://example.org/x.git",
      ),
      ref: optionalKey(matching(P.ref, "Branch, tag or commit; `HEAD` unless said", "main")),
      credentials: optionalKey(Credentials),
    }),
  ),
  upload: optionalKey(Id("upl", "An archive that was uploaded (POST …/uploads)")),
  arches: optionalKey(
    Schema.Array(matching(P.arch, "As flatpak names it", "x86_64"))
      .check(Schema.isMinLength(1), Schema.isMaxLength(MANIFEST_SOURCE_LIMITS.arches))
      .annotate({ description: "Built beside each other; that of the node unless said" }),
  ),
  branch: optionalKey(matching(P.branch, "Where the manifest names none; `master` unless said", "stable")),
  needs: optionalKey(
    Schema.Array(Id("bld", "A build"))
      .check(Schema.isMaxLength(MANIFEST_SOURCE_LIMITS.needs))
      .annotate({ description: "Builds that are published first: runtimes that this one is built with" }),
  ),
  twice: optionalKey(Schema.Boolean.annotate({ description: "Built a second time, from nothing, and compared" })),
  subsets: optionalKey(Subsets),
}).annotate({
  title: "Manifest",
  description: "Built here by flatpak-builder, in a sandbox without a network. Either `git` or `upload`",
});

export const BuildFinding = Schema.Struct({
  severity: Schema.Literals(["error", "warning", "note"]),
  code: text("Stable, in capitals: `PERMISSION_WIDE`"),
  path: text("Where: a pointer into the manifest, or a file of what was built"),
  message: Schema.String,
  fix: Schema.String,
  file: optionalKey(text("The file, where it is another than the manifest")),
}).annotate({ identifier: "BuildFinding" });

export const Differing = Schema.Struct({
  ref: Schema.String,
  first: optionalKey(text("Its commit; left out: there was none")),
  second: optionalKey(Schema.String),
  files: Schema.Array(Schema.String).annotate({ description: "Paths that differ, at most a hundred" }),
}).annotate({ identifier: "DifferingBuild" });

/** What was built, and how. */
export const BuiltFacts = Schema.Struct({
  source: text("The commit that a Git reference was, or the hash of the archive"),
  appId: text("As the manifest says"),
  findings: Schema.Array(BuildFinding).annotate({ description: "At most a hundred" }),
  permissions: Schema.Array(Schema.String).annotate({ description: "What it may do, in the words of its metadata" }),
  used: Schema.Array(Schema.Struct({ ref: Schema.String, commit: optionalKey(Schema.String) })).annotate({
    description: "Runtimes that it was built with",
  }),
  ms: count("How long flatpak-builder ran, of all architectures together"),
  memoryBytes: count("The most that was seen of one architecture"),
  diskBytes: count("By which its folder grew, likewise"),
  reproducible: optionalKey(Schema.Boolean.annotate({ description: "Whether the second build gave the same" })),
  differing: optionalKey(Schema.Array(Differing)),
}).annotate({ identifier: "BuiltFacts" });
