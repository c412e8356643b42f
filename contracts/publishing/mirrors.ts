/** Repositories that follow another one: what is asked of a mirror, and what it found there. */
import * as Schema from "effect/Schema";
import { Time } from "../http.ts";
import { RefName } from "./build-parts.ts";

const { optionalKey } = Schema;
const text = (description: string) => Schema.String.annotate({ description });
const count = (description: string) => Schema.Int.annotate({ description });

export const MIRROR_LIMITS = {
  keys: 8,
  keyCharacters: 65_536,
  patterns: 100,
  pattern: 300,
  /** References that one mirror follows. */
  refs: 1_000,
  /** Named in one request. */
  asked: 100,
  /** Findings that are told one by one. */
  findings: 50,
  /** Builds that one look makes; what is left comes with the next, half a minute later. */
  builds: 20,
  /** References that one look takes. */
  taken: 400,
  minutes: { least: 5, usual: 60, most: 10_080 },
} as const;
export const MIRROR_PATTERNS = {
  url: /^https?:\/\/[^\s@<>"'`{}\\\p{Cc}?#]{1,480}$/u,
  ref: /^[A-Za-z0-9_.*-]{1,250}(\/[A-Za-z0-9_.*-]{1,250}){3}$/u,
  key: /^[A-Za-z0-9+/=\s:().,_-]+$/u,
} as const;
export const MIRROR_FOLLOWS = ["all", "asked"] as const;

const [LEAST, MOST] = [MIRROR_LIMITS.minutes.least, MIRROR_LIMITS.minutes.most];
export const Mirror = Schema.Struct({
  url: Schema.String.check(Schema.isPattern(MIRROR_PATTERNS.url)).annotate({
    description: "Where the other repository is, as clients add it: http or https, without credentials",
    examples: ["https://dl.flathub.org/repo/"],
  }),
  gpgKeys: optionalKey(
    Schema.Array(
      Schema.String.check(Schema.isMaxLength(MIRROR_LIMITS.keyCharacters), Schema.isPattern(MIRROR_PATTERNS.key)),
    )
      .check(Schema.isMaxLength(MIRROR_LIMITS.keys))
      .annotate({
        description:
          "Public keys, armored or in base 64 as `GPGKey=` has them: one of them must have signed its summary",
      }),
  ),
  allowUnsigned: optionalKey(
    Schema.Boolean.annotate({
      description: "Without keys: whoever answers at the address is believed. Nothing but this allows it",
    }),
  ),
  refs: optionalKey(
    Schema.Array(Schema.String.check(Schema.isMaxLength(MIRROR_LIMITS.pattern), Schema.isPattern(MIRROR_PATTERNS.ref)))
      .check(Schema.isMinLength(1), Schema.isMaxLength(MIRROR_LIMITS.patterns))
      .annotate({
        description: `Which references, four parts each; \`*\` stands for anything within a part. All unless said; at most ${MIRROR_LIMITS.refs} are followed`,
        examples: [["app/org.gimp.*/x86_64/stable"]],
      }),
  ),
  follow: optionalKey(
    Schema.Literals(MIRROR_FOLLOWS).annotate({
      description:
        "`all`: every one of `refs`, as it is unless said; `asked`: only those that somebody has asked for, with the runtime and the translations that they need",
    }),
  ),
  everyMinutes: optionalKey(
    Schema.Int.check(Schema.isBetween({ minimum: LEAST, maximum: MOST })).annotate({
      description: `How often it is looked at; ${MIRROR_LIMITS.minutes.usual} unless said`,
    }),
  ),
}).annotate({
  identifier: "RepositoryMirror",
  description: "Another repository that this one follows. What it loses stays here",
  examples: [{ url: "https://flatpak.example.org/repo/", gpgKeys: ["mDMEZ".padEnd(44, "A")], everyMinutes: 60 }],
});

export const MirrorRepository = Schema.Struct({
  refs: optionalKey(
    Schema.Array(RefName)
      .check(Schema.isMaxLength(MIRROR_LIMITS.asked))
      .annotate({ description: "What is to be followed from now on, of `refs` of the mirror" }),
  ),
}).annotate({ identifier: "MirrorRepository", examples: [{ refs: ["app/org.example.Hello/x86_64/stable"] }] });

export const MIRROR_FINDINGS = [
  "upstream",
  "signature",
  "keys",
  "gone",
  "missing",
  "older",
  "build",
  "limit",
  "nothing",
] as const;
export const MirrorFinding = Schema.Struct({
  what: Schema.Literals(MIRROR_FINDINGS).annotate({
    description:
      "`upstream`: it does not answer as a repository; `signature`: none of the keys signed it; `keys`: they cannot be read; `gone`: no longer there, and kept here; `missing`: its commit, or what was asked for, is not there; `older`: than what was taken before, and not taken; `build`: taking it failed; `limit`: too many; `nothing`: no reference fits",
  }),
  name: text("The reference, the address, the build"),
  reason: text("What is wrong with it"),
}).annotate({ identifier: "MirrorFinding" });
const seen = {
  refs: count("References that are followed"),
  signedBy: optionalKey(text("Fingerprint of the key that signed its summary")),
  waiting: count("Applications whose last build is still under way, or waits for somebody to decide"),
  more: count("Applications that come with the next look"),
  found: count("Everything that was found"),
  findings: Schema.Array(MirrorFinding).annotate({ description: `The first ${MIRROR_LIMITS.findings} of them` }),
};
export const RepositoryMirrorAsked = Schema.Struct({
  refs: Schema.Array(Schema.String).annotate({ description: "What is to be followed from now on" }),
});
export const RepositoryMirrored = Schema.Struct({
  by: Schema.Literals(["command", "schedule"]),
  request: count("Up to which request it answers, from 1; 0: none was made"),
  ...seen,
  taken: Schema.Array(
    Schema.Struct({
      ref: text("The reference"),
      commit: text("The commit of the other repository"),
      at: count("Its time: seconds since 1970"),
      build: text("Id of the build that publishes it here"),
    }),
  ),
  over: Schema.Array(Schema.String).annotate({ description: "Ids of builds that have ended" }),
  related: Schema.Array(Schema.String).annotate({
    description: "What is needed by what was asked for, and followed from now on",
  }),
});
export const MirrorStatus = Schema.Struct({
  at: Time,
  ...seen,
  taken: count("References that are here"),
  builds: Schema.Array(Schema.String).annotate({ description: "Ids of builds under way, and of those that failed" }),
}).annotate({ identifier: "MirrorStatus", description: "What the last look at the other repository found" });
