/** Repositories of Flatpaks: how they are asked for. What they are and what happens to them: repository-parts.ts, repository-events.ts. */
import * as HttpApiEndpoint from "effect/http-api/HttpApiEndpoint";
import * as HttpApiGroup from "effect/http-api/HttpApiGroup";
import * as OpenApi from "effect/http-api/OpenApi";
import * as Schema from "effect/Schema";
import { changeOf, createOf, deleteOf, getOf, listOf } from "../endpoints.ts";
import { accepted, changeHeaders, commandHeaders, entityParams, ORGANISATION, says, textFilter } from "../http.ts";
import { Day } from "../moments.ts";
import { diffOf, historyOf } from "../past.ts";
import { PrunePreview, RepositoryContents, Statistics } from "./asks.ts";
import { MirrorRepository } from "./mirrors.ts";
import { changedSettings, REPOSITORY_LIMITS, Repository, RepositorySpec } from "./repository-parts.ts";

const { optionalKey } = Schema;

export const SecretKey = Schema.String.check(
  Schema.isMinLength(100),
  Schema.isMaxLength(REPOSITORY_LIMITS.keyCharacters),
).annotate({
  title: "Secret key",
  description:
    "A secret GPG key without a passphrase, as `gpg --export-secret-keys --armor` writes it; kept sealed, never shown",
});
const OVERLAP = { usual: 90, most: 3_650 } as const;
export const OVERLAP_DAYS = OVERLAP.usual;

export const CreateRepository = Schema.Struct({
  ...RepositorySpec.fields,
  secretKey: optionalKey(SecretKey),
}).annotate({
  identifier: "CreateRepository",
  description: "Without a key it gets one of its own",
  examples: [{ name: "stable", title: "Our applications", collectionId: "org.example.Stable" }],
});
export const ChangeRepository = Schema.Struct(changedSettings).annotate({
  identifier: "ChangeRepository",
  description: "What is left out stays; `null` takes it off",
});
export const RotateKey = Schema.Struct({
  secretKey: optionalKey(SecretKey),
  overlapDays: optionalKey(
    Schema.Int.check(Schema.isBetween({ minimum: 0, maximum: OVERLAP.most })).annotate({
      description: `How long today's key signs, too; ${OVERLAP.usual} unless said. Clients that do not ask in this time must be told the new key`,
    }),
  ),
}).annotate({ identifier: "RotateRepositoryKey", description: "Without a key a new one is made" });

export const RepositoryRemote = Schema.Struct({
  name: Schema.String.annotate({ description: "What the remote may be called" }),
  url: Schema.String,
  private: Schema.Boolean.annotate({
    description:
      "Its address takes credentials: `https://user:<token>@…`, with a token that holds `publishing:download`",
  }),
  publicKey: Schema.String.annotate({ description: "All keys that are valid, binary, in base64" }),
  command: Schema.String.annotate({ description: "How one adds it; `TOKEN` stands for the token" }),
}).annotate({ identifier: "RepositoryRemote" });

const repositories = `${ORGANISATION}/repositories` as const;
const repository = `${repositories}/:id` as const;
const act = { params: entityParams, headers: commandHeaders, success: accepted(Repository) } as const;

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
      visibility: textFilter("`public` or `private`"),
    }).annotateMerge(says("publishing:read", "List repositories")),
  )
  .add(
    getOf("getRepository", repository, Repository).annotateMerge(
      says("publishing:read", "A repository by id or name, as it is or as it was"),
    ),
  )
  .add(
    changeOf("changeRepository", repository, ChangeRepository, Repository).annotateMerge(
      says("publishing:edit", "Change what clients are told of a repository, who may read it, what is kept"),
    ),
  )
  .add(
    deleteOf("deleteRepository", repository).annotateMerge(
      says(
        "publishing:delete",
        "Delete a repository, with all that was published in it",
        "Its files and keys are destroyed; its past can still be read.",
      ),
    ),
  )
  .add(
    HttpApiEndpoint.post("retryRepository", `${repository}/retry`, act).annotateMerge(
      says("publishing:edit", "Try again to make a repository that could not be made"),
    ),
  )
  .add(
    HttpApiEndpoint.post("rotateRepositoryKey", `${repository}/rotate-key`, {
      ...act,
      headers: changeHeaders,
      payload: RotateKey,
    }).annotateMerge(
      says(
        "publishing:keys",
        "Sign with another key",
        "Both sign while clients learn the new one; then the old one ends by itself.",
      ),
    ),
  )
  .add(
    HttpApiEndpoint.post("validateRepository", `${repository}/validate`, act).annotateMerge(
      says("publishing:operate", "Read all of a repository and check it", "What is found stands in its status."),
    ),
  )
  .add(
    HttpApiEndpoint.post("pruneRepository", `${repository}/prune`, act).annotateMerge(
      says("publishing:operate", "Move what nothing leads to into quarantine, and delete what has been there for long"),
    ),
  )
  .add(
    HttpApiEndpoint.post("mirrorRepository", `${repository}/mirror`, {
      ...act,
      payload: MirrorRepository,
    }).annotateMerge(
      says(
        "publishing:operate",
        "Look at the repository that this one follows, now",
        "What is new there is taken by builds of their own. References that are named are followed from now on.",
      ),
    ),
  )
  .add(
    HttpApiEndpoint.get("previewPrune", `${repository}/prune`, {
      params: entityParams,
      success: PrunePreview,
    }).annotateMerge(says("publishing:read", "What pruning would do at this moment")),
  )
  .add(
    HttpApiEndpoint.get("repositoryContents", `${repository}/contents`, {
      params: entityParams,
      success: RepositoryContents,
    }).annotateMerge(says("publishing:read", "References and snapshots of a repository at this moment")),
  )
  .add(
    HttpApiEndpoint.get("repositoryRemote", `${repository}/remote`, {
      params: entityParams,
      success: RepositoryRemote,
    }).annotateMerge(says("publishing:download", "How clients install from it")),
  )
  .add(
    HttpApiEndpoint.get("repositoryStatistics", `${repository}/statistics`, {
      params: entityParams,
      query: {
        from: optionalKey(Day.annotate({ description: "First day; a month ago unless said" })),
        to: optionalKey(Day.annotate({ description: "Last day; today unless said" })),
        ref: textFilter("Only this reference"),
      },
      success: Statistics,
    }).annotateMerge(says("publishing:read", "Installs and updates by day, reference and version")),
  )
  .add(historyOf("historyOfRepository", repository).annotateMerge(says("publishing:read", "What happened to it")))
  .add(
    diffOf("diffRepository", repository).annotateMerge(
      says("publishing:read", "What differs between two moments of a repository"),
    ),
  )
  .annotateMerge(OpenApi.annotations({ title: "Repositories", description: "Where Flatpaks are published" }));
