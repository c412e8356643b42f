/** Repositories of Flatpaks: what they are, what happens to them, how they are asked for. */
import * as HttpApiEndpoint from "effect/http-api/HttpApiEndpoint";
import * as HttpApiGroup from "effect/http-api/HttpApiGroup";
import * as OpenApi from "effect/http-api/OpenApi";
import * as Schema from "effect/Schema";
import { changeOf, createOf, getOf, listOf } from "../endpoints.ts";
import type { PublicEvents } from "../events.ts";
import { accepted, commandHeaders, entity, entityParams, ORGANISATION, says, Time, textFilter } from "../http.ts";
import { Id, Name } from "../ids.ts";
import { diffOf, historyOf } from "../past.ts";

const { optionalKey } = Schema;
const text = (description: string) => Schema.String.annotate({ description });

export const REPOSITORY_LIMITS = {
  title: 200,
  collectionId: 255,
  /** Begun attempts of making one before it is given up. */
  attempts: 10,
} as const;
export const REPOSITORY_PATTERNS = {
  title: /^[^\p{Cc}\p{Cs}\s][^\p{Cc}\p{Cs}]{0,199}$/u,
  /** As `ostree` takes them: at least two parts, none beginning with a digit. */
  collectionId: /^[A-Za-z_][A-Za-z0-9_]{0,99}(\.[A-Za-z_][A-Za-z0-9_]{0,99}){1,20}$/u,
} as const;
/** `pending`: no publisher has begun; `making`: one has. */
export const REPOSITORY_STATES = ["pending", "making", "ready", "failed"] as const;

const Title = Schema.String.check(Schema.isPattern(REPOSITORY_PATTERNS.title)).annotate({
  title: "Title",
  description: `One line of at most ${REPOSITORY_LIMITS.title} characters; clients show it`,
  examples: ["Our applications"],
});
const CollectionId = Schema.String.check(
  Schema.isMaxLength(REPOSITORY_LIMITS.collectionId),
  Schema.isPattern(REPOSITORY_PATTERNS.collectionId),
).annotate({
  title: "Collection id",
  description: "What makes its references unique in the world, by a domain of yours; it stays",
  examples: ["org.example.Stable"],
});

const KeyShown = Schema.Struct({
  fingerprint: text("40 hexadecimal digits"),
  user: text("Whose it is"),
  publicKey: text("The public key, binary, in base 64: `GPGKey=` of a `.flatpakrepo`"),
}).annotate({ identifier: "RepositoryKey", description: "What its commits and summaries are signed with" });
const FailureShown = Schema.Struct({
  code: text("Stable, in capitals: `TOOLS_MISSING`"),
  reason: text("What happened"),
  fix: text("What to do about it"),
}).annotate({ identifier: "RepositoryFailure" });

export const RepositorySpec = Schema.Struct({
  name: Name,
  title: optionalKey(Title),
  collectionId: optionalKey(CollectionId),
}).annotate({ identifier: "RepositorySpec" });
export const RepositoryStatus = Schema.Struct({
  state: Schema.Literals(REPOSITORY_STATES),
  node: optionalKey(text("The node on whose disk it lies")),
  key: optionalKey(KeyShown),
  failure: optionalKey(FailureShown),
  readyAt: optionalKey(Time),
}).annotate({ identifier: "RepositoryStatus" });
export const Repository = entity(Id("rep", "Repository id"), RepositorySpec, RepositoryStatus).annotate({
  identifier: "Repository",
});

export const RepositoryCreated = Schema.Struct({
  name: text("Unique name in the organisation"),
  title: optionalKey(text("What clients show")),
  collectionId: optionalKey(text("What makes its references unique in the world")),
});
export const RepositoryRetitled = Schema.Struct({ title: Schema.NullOr(text("What clients show; null: its name")) });
export const RepositoryBegun = Schema.Struct({
  node: text("The node on whose disk it is made"),
  attempt: Schema.Int.annotate({ description: "From 1; anew when somebody asks for another try" }),
  worker: text("Which process"),
});
export const RepositoryKeyMade = KeyShown;
export const RepositoryMade = Schema.Struct({
  attempt: Schema.Int.annotate({ description: "Which attempt it was" }),
});
export const RepositoryFailed = FailureShown;
export const RepositoryRetried = Schema.Struct({});

export const repositoryEvents = {
  RepositoryCreated: { version: 1, data: RepositoryCreated, description: "A repository was asked for." },
  RepositoryRetitled: { version: 1, data: RepositoryRetitled, description: "A repository has another title." },
  RepositoryBegun: { version: 1, data: RepositoryBegun, description: "A publisher began to make a repository." },
  RepositoryKeyMade: { version: 1, data: RepositoryKeyMade, description: "A repository has a key that signs." },
  RepositoryMade: { version: 1, data: RepositoryMade, description: "A repository is there." },
  RepositoryFailed: { version: 1, data: RepositoryFailed, description: "A repository could not be made." },
  RepositoryRetried: { version: 1, data: RepositoryRetried, description: "Another try was asked for." },
} as const satisfies PublicEvents;

export const CreateRepository = Schema.Struct(RepositorySpec.fields).annotate({
  identifier: "CreateRepository",
  examples: [{ name: "stable", title: "Our applications", collectionId: "org.example.Stable" }],
});
export const ChangeRepository = Schema.Struct({ title: optionalKey(Schema.NullOr(Title)) }).annotate({
  identifier: "ChangeRepository",
  description: "What is left out stays; `null` takes the title off",
});

const repositories = `${ORGANISATION}/repositories` as const;
const repository = `${repositories}/:id` as const;

export const repositoriesApi = HttpApiGroup.make("repositories")
  .add(
    createOf("createRepository", repositories, CreateRepository, Repository).annotateMerge(
      says("publishing:edit", "Create a repository", "A publisher makes it, with a key of its own; `?wait=` follows."),
    ),
  )
  .add(
    listOf("listRepositories", repositories, Repository, {
      name: textFilter("Its name"),
      state: textFilter("Its state"),
    }).annotateMerge(says("publishing:read", "List repositories")),
  )
  .add(
    getOf("getRepository", repository, Repository).annotateMerge(
      says("publishing:read", "A repository by id or name, as it is or as it was"),
    ),
  )
  .add(
    changeOf("changeRepository", repository, ChangeRepository, Repository).annotateMerge(
      says("publishing:edit", "Change a repository's title"),
    ),
  )
  .add(
    HttpApiEndpoint.post("retryRepository", `${repository}/retry`, {
      params: entityParams,
      headers: commandHeaders,
      success: accepted(Repository),
    }).annotateMerge(says("publishing:edit", "Try again to make a repository that could not be made")),
  )
  .add(historyOf("historyOfRepository", repository).annotateMerge(says("publishing:read", "What happened to it")))
  .add(
    diffOf("diffRepository", repository).annotateMerge(
      says("publishing:read", "What differs between two moments of a repository"),
    ),
  )
  .annotateMerge(OpenApi.annotations({ title: "Repositories", description: "Where Flatpaks are published" }));
