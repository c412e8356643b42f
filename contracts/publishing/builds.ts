/** Builds: content on its way into a repository, and what is asked of them. What they are: build-parts.ts, build-events.ts. */
import * as HttpApiEndpoint from "effect/http-api/HttpApiEndpoint";
import * as HttpApiGroup from "effect/http-api/HttpApiGroup";
import * as HttpApiSchema from "effect/http-api/HttpApiSchema";
import * as OpenApi from "effect/http-api/OpenApi";
import * as Schema from "effect/Schema";
import { contentHeaders } from "../bytes.ts";
import { changeOf, createOf, getOf, listOf } from "../endpoints.ts";
import {
  accepted,
  booleanFilter,
  commandHeaders,
  entityParams,
  ORGANISATION,
  organisationParams,
  queryHeaders,
  says,
  textFilter,
} from "../http.ts";
import { Day } from "../moments.ts";
import { diffOf, historyOf } from "../past.ts";
import { Partly } from "../permissions.ts";
import { BuildRetention } from "./asks.ts";
import {
  AddExtraIds,
  Build,
  BuildReview,
  BuildStatistics,
  ChangeBuild,
  CommitBuild,
  CreateBuild,
  DeclareRefs,
  MissingObjects,
  Promote,
  RollBack,
  StoredObjects,
  Unpublish,
  WantedObjects,
} from "./build-parts.ts";
import { DecideBuild } from "./reviews.ts";

const { optionalKey } = Schema;
const builds = `${ORGANISATION}/builds` as const;
const build = `${builds}/:id` as const;
const act = { params: entityParams, headers: commandHeaders } as const;

export const buildsApi = HttpApiGroup.make("builds")
  .add(
    createOf("createBuild", builds, CreateBuild, Build)
      .annotateMerge(
        says("publishing:upload", "Begin a build", "It has a number, by which it can be asked for as well."),
      )
      .annotate(Partly, true),
  )
  .add(
    listOf("listBuilds", builds, Build, {
      repository: textFilter("Id of its repository"),
      state: textFilter("Its state"),
      published: textFilter("Whether it is published: its state"),
      appId: textFilter("Id of its application"),
      waiting: booleanFilter("Whether a step of it is under way or waits for its turn: the queue"),
    }).annotateMerge(says("publishing:read", "List builds")),
  )
  .add(
    HttpApiEndpoint.get("buildStatistics", `${builds}/statistics`, {
      params: organisationParams,
      headers: queryHeaders,
      query: {
        from: optionalKey(Day.annotate({ description: "First day; a month ago unless said" })),
        to: optionalKey(Day.annotate({ description: "Last day; today unless said" })),
        repository: textFilter("Id of a repository"),
        appId: textFilter("Id of an application"),
      },
      success: BuildStatistics,
    }).annotateMerge(says("publishing:read", "How builds went: rates and durations")),
  )
  .add(
    HttpApiEndpoint.get("buildRetention", `${builds}/retention`, {
      params: organisationParams,
      headers: queryHeaders,
      success: BuildRetention,
    }).annotateMerge(
      says(
        "publishing:read",
        "Which builds' files go by themselves, and when",
        "Builds of which nobody asks anything for as long as publishers keep them (MILLRACE_BUILD_DAYS). Asked of every publisher; changes nothing.",
      ),
    ),
  )
  .add(getOf("getBuild", build, Build).annotateMerge(says("publishing:read", "A build by id or number")))
  .add(
    changeOf("changeBuild", build, ChangeBuild, Build).annotateMerge(
      says("publishing:upload", "Change a build's priority, and what is said of it"),
    ),
  )
  .add(
    HttpApiEndpoint.post("declareRefs", `${build}/refs`, {
      ...act,
      payload: DeclareRefs,
      success: Build,
    }).annotateMerge(says("publishing:upload", "Name references of a build and their commits")),
  )
  .add(
    HttpApiEndpoint.post("addExtraIds", `${build}/extra-ids`, {
      ...act,
      payload: AddExtraIds,
      success: Build,
    }).annotateMerge(says("publishing:upload", "Name further ids that belong to a build")),
  )
  .add(
    HttpApiEndpoint.post("commitBuild", `${build}/commit`, {
      ...act,
      payload: CommitBuild,
      success: accepted(Build),
    }).annotateMerge(
      says(
        "publishing:upload",
        "Commit what was uploaded",
        "Refused, with the names, while objects are missing. When it is ready its references have signed commits.",
      ),
    ),
  )
  .add(
    HttpApiEndpoint.post("publishBuild", `${build}/publish`, { ...act, success: accepted(Build) }).annotateMerge(
      says("publishing:publish", "Publish a build that is ready", "Static deltas are made after clients see it."),
    ),
  )
  .add(
    HttpApiEndpoint.post("cancelBuild", `${build}/cancel`, { ...act, success: accepted(Build) }).annotateMerge(
      says("publishing:upload", "Cancel a build; what was uploaded goes"),
    ),
  )
  .add(
    HttpApiEndpoint.post("purgeBuild", `${build}/purge`, { ...act, success: accepted(Build) }).annotateMerge(
      says("publishing:upload", "Remove a build's files", "What was published stays published."),
    ),
  )
  .add(
    HttpApiEndpoint.post("retryBuild", `${build}/retry`, { ...act, success: accepted(Build) }).annotateMerge(
      says("publishing:upload", "Try again what failed, from where it stopped"),
    ),
  )
  .add(
    HttpApiEndpoint.post("rollBackToBuild", `${build}/roll-back`, {
      ...act,
      payload: RollBack,
      success: accepted(Build),
    }).annotateMerge(
      says(
        "publishing:publish",
        "Publish again what a build published",
        "As new commits with its content: clients take no older ones. It is a build of its own, which is answered.",
      ),
    ),
  )
  .add(
    HttpApiEndpoint.post("promoteBuild", `${build}/promote`, {
      ...act,
      payload: Promote,
      success: accepted(Build),
    }).annotateMerge(
      says(
        "publishing:publish",
        "Publish the same commits in another repository",
        "Signed by that one's keys as well. It is a build of its own, which is answered.",
      ),
    ),
  )
  .add(
    HttpApiEndpoint.post("unpublishBuild", `${build}/unpublish`, {
      ...act,
      payload: Unpublish,
      success: accepted(Build),
    }).annotateMerge(
      says(
        "publishing:publish",
        "Take references of a build out of its repository",
        "Their objects stay until the repository is pruned. It is a build of its own, which is answered.",
      ),
    ),
  )
  .add(
    HttpApiEndpoint.post("releaseHold", `${build}/release-hold`, { ...act, success: Build }).annotateMerge(
      says("publishing:publish", "Let others publish to a build's references again"),
    ),
  )
  .add(
    HttpApiEndpoint.post("missingObjects", `${build}/missing-objects`, {
      params: entityParams,
      payload: WantedObjects,
      success: MissingObjects,
    }).annotateMerge(
      says(
        "publishing:upload",
        "Which objects are to be uploaded",
        "What is said to be there is kept until the build ends, so an upload goes on where it stopped by asking again.",
      ),
    ),
  )
  .add(
    HttpApiEndpoint.put("uploadObjects", `${build}/objects`, {
      params: entityParams,
      payload: HttpApiSchema.StreamUint8Array({ contentType: "multipart/mixed" }),
      success: StoredObjects,
    }).annotateMerge(
      says(
        "publishing:upload",
        "Upload objects and static deltas",
        "Each part has a file name: that of the object, or `<delta>.superblock.delta` and `<delta>.<n>.delta`. Each object is checked against its name as it comes; the first that is another is refused, and those before it stay. As large as one likes.",
      ),
    ),
  )
  .add(
    HttpApiEndpoint.get("reviewBuild", `${build}/review`, { params: entityParams, success: BuildReview }).annotateMerge(
      says(
        "publishing:read",
        "What a build changes for those who have what is published",
        "Permissions, runtime, files, sizes, and what clients load.",
      ),
    ),
  )
  .add(
    HttpApiEndpoint.get("artefactsOfBuild", `${build}/artefacts`, {
      params: entityParams,
      headers: contentHeaders,
      query: { arch: textFilter("Of which architecture, where several failed") },
      success: HttpApiSchema.StreamUint8Array(),
    }).annotateMerge(
      says(
        "publishing:upload",
        "What is kept of a build that failed",
        "Folders of modules that could not be built, with their logs, as `.tar.gz`. They go with the build's files.",
      ),
    ),
  )
  .add(
    HttpApiEndpoint.post("approveBuild", `${build}/approve`, {
      ...act,
      payload: DecideBuild,
      success: accepted(Build),
    }).annotateMerge(
      says(
        "publishing:review",
        "Decide that a build may be published",
        "It goes on at once. For the permissions that it changes this is remembered: nobody is asked about them again.",
      ),
    ),
  )
  .add(
    HttpApiEndpoint.post("rejectBuild", `${build}/reject`, {
      ...act,
      payload: DecideBuild,
      success: Build,
    }).annotateMerge(
      says(
        "publishing:review",
        "Decide that a build is not to be published",
        "For the permissions that it changes this is remembered: a build with the same ones is not published either. Approving it later takes that back.",
      ),
    ),
  )
  .add(historyOf("historyOfBuild", build).annotateMerge(says("publishing:read", "What happened to a build")))
  .add(
    diffOf("diffBuild", build).annotateMerge(
      says("publishing:read", "What differs between two moments of a build's entity"),
    ),
  )
  .annotateMerge(OpenApi.annotations({ title: "Builds", description: "Content on its way into a repository" }));
