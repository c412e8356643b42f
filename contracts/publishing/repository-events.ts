/** What happens to a repository. */
import * as Schema from "effect/Schema";
import type { PublicEvents } from "../events.ts";
import { RepositoryMirrorAsked, RepositoryMirrored } from "./mirrors.ts";
import { changedSettings, FailureShown, KeyShown, Pruned, RepositorySpec, Validation } from "./repository-parts.ts";

export { RepositoryMirrorAsked, RepositoryMirrored } from "./mirrors.ts";

const { optionalKey } = Schema;
const text = (description: string) => Schema.String.annotate({ description });
const REQUEST = Schema.Int.annotate({ description: "Up to which request it answers, from 1; 0: none was made" });

export const RepositoryCreated = Schema.Struct({
  ...RepositorySpec.fields,
  name: text("Unique name in the organisation"),
  title: optionalKey(text("What clients show")),
  collectionId: optionalKey(text("What makes its references unique in the world")),
});
export const RepositoryRetitled = Schema.Struct({ title: Schema.NullOr(text("What clients show; null: its name")) });
export const RepositoryChanged = Schema.Struct(changedSettings);
export const RepositoryBegun = Schema.Struct({
  node: text("The node on whose disk it is made"),
  attempt: Schema.Int.annotate({ description: "From 1; anew when somebody asks for another try" }),
  worker: text("Which process"),
});
export const RepositoryKeyAsked = Schema.Struct({
  imported: Schema.Boolean.annotate({ description: "It was given; otherwise one is made" }),
  overlapDays: Schema.Int.annotate({ description: "How long the keys of before sign, too" }),
});
export const RepositoryKeyMade = Schema.Struct({
  ...KeyShown.fields,
  until: optionalKey(text("When the keys of before end")),
});
export const RepositoryKeyRefused = FailureShown;
export const RepositoryKeyRetired = Schema.Struct({ fingerprint: text("Which key") });
export const RepositoryMade = Schema.Struct({
  attempt: Schema.Int.annotate({ description: "Which attempt it was" }),
});
export const RepositoryConfigured = Schema.Struct({
  revision: Schema.Int.annotate({ description: "Which of the changes of settings and keys" }),
  url: optionalKey(text("Where clients reach it")),
});
export const RepositoryFailed = FailureShown;
export const RepositoryRetried = Schema.Struct({});
export const RepositoryValidationAsked = Schema.Struct({});
export const RepositoryValidated = Schema.Struct({
  ...Validation.fields,
  by: Schema.Literals(["command", "scrub"]).annotate({ description: "`scrub`: bit by bit, by itself" }),
  request: REQUEST,
});
export const RepositoryPruneAsked = Schema.Struct({});
export const RepositoryPruned = Schema.Struct({
  ...Pruned.fields,
  by: Schema.Literals(["command", "retention"]),
  request: REQUEST,
});
export const RepositoryDeleted = Schema.Struct({ name: text("Its name, which is free now") });
export const RepositoryRemoved = Schema.Struct({});

export const repositoryEvents = {
  RepositoryCreated: { version: 1, data: RepositoryCreated, description: "A repository was asked for." },
  RepositoryRetitled: { version: 1, data: RepositoryRetitled, description: "A repository has another title." },
  RepositoryChanged: { version: 1, data: RepositoryChanged, description: "A repository is to be as said." },
  RepositoryBegun: { version: 1, data: RepositoryBegun, description: "A publisher began to make a repository." },
  RepositoryKeyAsked: { version: 1, data: RepositoryKeyAsked, description: "Another key was asked for." },
  RepositoryKeyMade: { version: 1, data: RepositoryKeyMade, description: "A repository has a key that signs." },
  RepositoryKeyRefused: { version: 1, data: RepositoryKeyRefused, description: "A key was not taken." },
  RepositoryKeyRetired: { version: 1, data: RepositoryKeyRetired, description: "A key signs no longer." },
  RepositoryMade: { version: 1, data: RepositoryMade, description: "A repository is there." },
  RepositoryConfigured: {
    version: 1,
    data: RepositoryConfigured,
    description: "Clients of a repository see what was asked.",
  },
  RepositoryFailed: { version: 1, data: RepositoryFailed, description: "A repository could not be made." },
  RepositoryRetried: { version: 1, data: RepositoryRetried, description: "Another try was asked for." },
  RepositoryValidationAsked: {
    version: 1,
    data: RepositoryValidationAsked,
    description: "All of a repository is to be read and checked.",
  },
  RepositoryValidated: { version: 1, data: RepositoryValidated, description: "A repository was read and checked." },
  RepositoryPruneAsked: { version: 1, data: RepositoryPruneAsked, description: "A repository is to be pruned." },
  RepositoryPruned: { version: 1, data: RepositoryPruned, description: "A repository was pruned." },
  RepositoryMirrorAsked: {
    version: 1,
    data: RepositoryMirrorAsked,
    description: "The repository that one follows is to be looked at.",
  },
  RepositoryMirrored: {
    version: 1,
    data: RepositoryMirrored,
    description: "The repository that one follows was looked at; what is new there is taken by builds.",
  },
  RepositoryDeleted: { version: 1, data: RepositoryDeleted, description: "A repository was deleted." },
  RepositoryRemoved: {
    version: 1,
    data: RepositoryRemoved,
    description: "The files and keys of a repository that was deleted are gone.",
  },
} as const satisfies PublicEvents;
