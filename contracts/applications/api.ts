/** Applications, their deployments, and the nodes they live on. */
import * as HttpApiEndpoint from "effect/http-api/HttpApiEndpoint";
import * as HttpApiGroup from "effect/http-api/HttpApiGroup";
import * as OpenApi from "effect/http-api/OpenApi";
import * as Schema from "effect/Schema";
import { changeOf, createOf, getOf, listOf } from "../endpoints.ts";
import {
  accepted,
  booleanFilter,
  changeHeaders,
  Difference,
  entityParams,
  listQuery,
  ORGANISATION,
  organisationParams,
  page,
  queryHeaders,
  says,
  Time,
  textFilter,
} from "../http.ts";
import { Name, Reference } from "../ids.ts";
import { diffOf, historyOf } from "../past.ts";
import { ApplicationSeen } from "./asks.ts";
import {
  Application,
  Credentials,
  Deployment,
  DeploymentSpec,
  DeploymentStatus,
  DockerfileBuild,
  GitSource,
  Health,
  LiveRelease,
  PathSource,
  Policy,
  Runtime,
  StaticBuild,
  UploadSource,
  Wanted,
} from "./entities.ts";
import {
  APPLICATION_STATES,
  BUILD_KINDS,
  DEPLOYMENT_STATES,
  Host,
  Instances,
  LIMITS,
  NodeName,
  Reason,
  Ref,
  Title,
  TRIGGERS,
} from "./values.ts";

const { optionalKey } = Schema;

/** The same fields, each of which may be left out. */
const partly = <const F extends Schema.Struct.Fields>(fields: F) =>
  Object.fromEntries(Object.entries(fields).map(([name, field]) => [name, loosened(field as Schema.Top)])) as {
    readonly [K in keyof F]: F[K] extends Schema.optionalKey<infer S>
      ? Schema.optionalKey<S>
      : Schema.optionalKey<F[K]>;
  };
const loosened = (field: Schema.Top) => (field.ast.context?.isOptional === true ? field : optionalKey(field));

const Source = Schema.Union([
  Schema.Struct({
    kind: Schema.Literal("git"),
    url: GitSource.fields.url,
    ref: optionalKey(Ref),
    credentials: optionalKey(Credentials),
  }).annotate({ identifier: "GitSourceAsked" }),
  Schema.Struct({ kind: Schema.Literal("path"), path: PathSource.fields.path, ref: optionalKey(Ref) }).annotate({
    identifier: "PathSourceAsked",
  }),
  UploadSource,
]);
const { kind: staticKind, ...staticFields } = StaticBuild.fields;
const { kind: dockerfileKind, ...dockerfileFields } = DockerfileBuild.fields;
const Build = Schema.Union([
  Schema.Struct({ kind: staticKind, ...partly(staticFields) }).annotate({ identifier: "StaticBuildAsked" }),
  Schema.Struct({ kind: dockerfileKind, ...partly(dockerfileFields) }).annotate({ identifier: "DockerfileBuildAsked" }),
]);
const RuntimeAsked = Schema.Struct(partly(Runtime.fields)).annotate({
  identifier: "ApplicationRuntimeAsked",
  description: "`port` is needed; what else is left out has a default",
});
const HealthAsked = Schema.Struct(partly(Health.fields)).annotate({ identifier: "ApplicationHealthAsked" });
const PolicyAsked = Schema.Struct(partly(Policy.fields)).annotate({ identifier: "DeploymentPolicyAsked" });
const Domains = Schema.Array(Host).check(Schema.isMaxLength(LIMITS.domains));

export const CreateApplication = Schema.Struct({
  name: Name,
  title: optionalKey(Title),
  source: Source,
  build: Build,
  runtime: optionalKey(RuntimeAsked),
  health: optionalKey(HealthAsked),
  domains: optionalKey(Domains),
  policy: optionalKey(PolicyAsked),
  node: optionalKey(NodeName),
  wanted: optionalKey(Wanted),
}).annotate({
  identifier: "CreateApplication",
  examples: [
    {
      name: "site",
      source: { kind: "git", url: "https://git.example.org/site.git" },
      build: { kind: "static", folder: "public" },
    },
  ],
});
export const ChangeApplication = Schema.Struct({
  title: optionalKey(Schema.NullOr(Title)),
  source: optionalKey(Source),
  build: optionalKey(Build),
  runtime: optionalKey(RuntimeAsked),
  health: optionalKey(HealthAsked),
  domains: optionalKey(Domains),
  policy: optionalKey(PolicyAsked),
  node: optionalKey(Schema.NullOr(NodeName)),
}).annotate({
  identifier: "ChangeApplication",
  description:
    "What is left out stays. `source`, `build`, `domains` and `env` are replaced as a whole; `null` takes title or node off",
});
export const Deploy = Schema.Struct({ ref: optionalKey(Ref) }).annotate({
  identifier: "DeployApplication",
  description: "`ref`: another branch, tag or commit than the application's, for this once",
});
export const Rollback = Schema.Struct({ to: optionalKey(Reference) }).annotate({
  identifier: "RollBackApplication",
  description: "`to`: id of the deployment to go back to; left out: the one that was live before",
});
export const Scale = Schema.Struct({ instances: Instances }).annotate({ identifier: "ScaleApplication" });
export const Cancel = Schema.Struct({ reason: optionalKey(Reason) }).annotate({ identifier: "CancelDeployment" });

export const RollbackPlan = Schema.Struct({
  to: LiveRelease,
  from: LiveRelease,
  commit: Schema.Struct({ from: Schema.String, to: Schema.String }),
  changes: Schema.Array(Difference).annotate({ description: "What differs in the configuration that would run" }),
}).annotate({ identifier: "RollbackPlan", description: "What a rollback would change" });

const { requested: _requested, ...listedSpec } = DeploymentSpec.fields;
const { phases: _phases, compensations: _compensations, ...listedStatus } = DeploymentStatus.fields;
export const ListedDeployment = Schema.Struct({
  ...Deployment.fields,
  spec: Schema.Struct(listedSpec),
  status: Schema.Struct(listedStatus),
}).annotate({
  identifier: "ListedDeployment",
  description: "A deployment without its phases and the configuration that it was asked for with",
});

export const Node = Schema.Struct({
  name: NodeName,
  workers: Schema.Array(
    Schema.Struct({
      instance: Schema.String.annotate({ description: "Name of the process" }),
      service: Schema.String,
      version: Schema.String,
      startedAt: Time,
      capabilities: Schema.Array(Schema.String).annotate({
        description: "What it can do: `git`, `static`, `docker` …",
      }),
      freeBytes: Schema.Finite.annotate({ description: "Left on the disk of its data" }),
      docker: Schema.Union([
        Schema.Struct({ version: Schema.String }),
        Schema.Struct({ missing: Schema.String.annotate({ description: "What is missing, and what installs it" }) }),
      ]),
    }).annotate({ identifier: "Worker" }),
  ),
}).annotate({ identifier: "Node", description: "Where applications live, as its workers announce it" });
export const Nodes = Schema.Struct({ items: Schema.Array(Node) }).annotate({ identifier: "Nodes" });

const all = `${ORGANISATION}/applications` as const;
const one = `${all}/:id` as const;
const deployments = `${ORGANISATION}/deployments` as const;
const deployment = `${deployments}/:id` as const;

const lasting = { params: entityParams, headers: changeHeaders, success: accepted(Application) };
const deploying = { params: entityParams, headers: changeHeaders, success: accepted(Deployment) };
const deploymentFilters = {
  state: optionalKey(Schema.Literals(DEPLOYMENT_STATES)),
  over: booleanFilter("Whether it has ended"),
  trigger: optionalKey(Schema.Literals(TRIGGERS)),
  node: textFilter("Where it is, or was, done"),
  commit: textFilter("The commit, in full"),
};

const applicationEndpoints = HttpApiGroup.make("applications")
  .add(
    createOf("createApplication", all, CreateApplication, Application).annotateMerge(
      says("applications:edit", "Create an application", "It is deployed when that is asked for."),
    ),
  )
  .add(
    listOf("listApplications", all, Application, {
      name: textFilter("Its name"),
      state: optionalKey(Schema.Literals(APPLICATION_STATES)),
      wanted: optionalKey(Wanted),
      node: textFilter("Where it lives"),
      kind: optionalKey(Schema.Literals(BUILD_KINDS)),
      changed: booleanFilter("Whether what is asked for was changed since the live release"),
      host: textFilter("One of its hosts"),
    }).annotateMerge(
      says("applications:read", "List applications", "`q` finds words of name, title, source and hosts."),
    ),
  )
  .add(
    getOf("getApplication", one, Application).annotateMerge(
      says("applications:read", "An application by id or name, as it is or as it was"),
    ),
  )
  .add(
    changeOf("changeApplication", one, ChangeApplication, Application).annotateMerge(
      says(
        "applications:edit",
        "Change an application",
        "Hosts, policy, title and number of instances hold at once; everything else with the next deployment.",
      ),
    ),
  )
  .add(
    HttpApiEndpoint.delete("deleteApplication", one, {
      params: entityParams,
      headers: changeHeaders,
      success: accepted(Application),
    }).annotateMerge(
      says(
        "applications:delete",
        "Delete an application",
        "Cancels what is under way, takes down what runs, and gives its name and hosts back. Gone is it when reading it answers 404.",
      ),
    ),
  )
  .add(
    historyOf("historyOfApplication", one).annotateMerge(says("applications:read", "What happened to an application")),
  )
  .add(
    diffOf("diffApplication", one).annotateMerge(
      says("applications:read", "What differs between two moments of an application"),
    ),
  );

const actionEndpoints = applicationEndpoints
  .add(
    HttpApiEndpoint.get("seeApplication", `${one}/seen`, {
      params: entityParams,
      success: ApplicationSeen,
    }).annotateMerge(
      says(
        "applications:read",
        "What an application has in the world now: route, containers, restarts",
        "Asked of its node at this moment; a node that does not answer is a 503. What has no node yet has nothing.",
      ),
    ),
  )
  .add(
    HttpApiEndpoint.post("deployApplication", `${one}/deploy`, { ...deploying, payload: Deploy }).annotateMerge(
      says(
        "applications:deploy",
        "Deploy an application",
        "Takes the place of a deployment that waits, and of one that runs and has not begun to update routes.",
      ),
    ),
  )
  .add(
    HttpApiEndpoint.get("planRollback", `${one}/rollback`, {
      params: entityParams,
      query: { to: optionalKey(Reference) },
      success: RollbackPlan,
    }).annotateMerge(says("applications:read", "What a rollback would change: commit and configuration")),
  )
  .add(
    HttpApiEndpoint.post("rollBackApplication", `${one}/rollback`, { ...deploying, payload: Rollback }).annotateMerge(
      says(
        "applications:deploy",
        "Go back to an earlier release",
        "Runs it with the configuration that it had. What is no longer kept answers 422 with rule `release-not-kept`.",
      ),
    ),
  )
  .add(
    HttpApiEndpoint.post("restartApplication", `${one}/restart`, deploying).annotateMerge(
      says(
        "applications:operate",
        "Restart an application",
        "A deployment of the live release, with today's variables and limits, without a request lost.",
      ),
    ),
  )
  .add(
    HttpApiEndpoint.post("startApplication", `${one}/start`, lasting).annotateMerge(
      says("applications:operate", "Start an application that was stopped"),
    ),
  )
  .add(
    HttpApiEndpoint.post("stopApplication", `${one}/stop`, lasting).annotateMerge(
      says("applications:operate", "Stop an application; what is under way ends first"),
    ),
  )
  .add(
    HttpApiEndpoint.post("scaleApplication", `${one}/scale`, { ...lasting, payload: Scale }).annotateMerge(
      says("applications:operate", "Run an application with another number of instances"),
    ),
  )
  .add(
    HttpApiEndpoint.get("listDeploymentsOfApplication", `${one}/deployments`, {
      params: entityParams,
      headers: queryHeaders,
      query: listQuery(deploymentFilters),
      success: page(ListedDeployment),
    }).annotateMerge(says("applications:read", "List the deployments of an application, newest first")),
  );

export const applicationsApi = actionEndpoints
  .add(
    listOf("listDeployments", deployments, ListedDeployment, {
      ...deploymentFilters,
      application: textFilter("Id of the application"),
    }).annotateMerge(
      says(
        "applications:read",
        "List deployments, newest first",
        "The queue is `state=queued`; all that is not over, `over=false`.",
      ),
    ),
  )
  .add(
    getOf("getDeployment", deployment, Deployment).annotateMerge(
      says("applications:read", "A deployment, as it is or as it was"),
    ),
  )
  .add(
    HttpApiEndpoint.post("cancelDeployment", `${deployment}/cancel`, { ...deploying, payload: Cancel }).annotateMerge(
      says(
        "applications:deploy",
        "Cancel a deployment",
        "Before requests were switched it ends cancelled, after that rolled back. When it has succeeded, roll back instead.",
      ),
    ),
  )
  .add(
    historyOf("historyOfDeployment", deployment).annotateMerge(
      says("applications:read", "What happened in a deployment"),
    ),
  )
  .add(
    diffOf("diffDeployment", deployment).annotateMerge(
      says("applications:read", "What differs between two moments of a deployment"),
    ),
  )
  .add(
    HttpApiEndpoint.get("listNodes", `${ORGANISATION}/nodes`, {
      params: organisationParams,
      success: Nodes,
    }).annotateMerge(
      says(
        "applications:read",
        "Nodes that have a worker now",
        "One without a worker is not there; what lives on it waits.",
      ),
    ),
  )
  .annotateMerge(OpenApi.annotations({ title: "Applications", description: "What runs, and how it gets there" }));
