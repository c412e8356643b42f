/** Applications, their deployments, and the nodes they live on. */
import { applicationColumns, deploymentColumns } from "../actions/applications-text.ts";
import { type Command, command, SEEN } from "../table.ts";
import { listing, showing } from "./entity.ts";

const actions = () => import("../actions/applications.ts");
const text = () => import("../actions/applications-text.ts");

const APP = { app: { summary: "Name or id of the application", names: { collection: "applications" } } } as const;
const DEPLOYMENT = {
  deployment: { summary: "Id of the deployment", names: { collection: "deployments" } },
} as const;
const ID = "dep_01kajzq4v0e8r9t2m5x7c3d6fg";

const FOLLOW = {
  wait: {
    type: "boolean",
    summary: "Follow it to its end, and end with its verdict; bounded by --timeout (default 900)",
  },
} as const;
const SETTLE = {
  wait: { type: "boolean", summary: "Wait until it is so; bounded by --timeout (default 900)" },
} as const;
const FOLLOWED =
  "With --wait each phase is printed as it ends, with how long it took, which attempt it was, and whether it was adopted: found " +
  "done, and not done again. The exit code is 1 when it fails, 5 when a newer one takes its place.";

/** What may be said of an application when it is created and when it is changed. */
const SPEC = {
  repository: {
    type: "string",
    short: "r",
    value: "URL|PATH",
    summary: "Git repository: what `git clone` takes, or the path of one on the node",
  },
  ref: { type: "string", value: "REF", summary: "Branch, tag or commit (default main)" },
  upload: {
    type: "string",
    value: "PATH",
    summary: "Instead of a repository: a folder, or a .tar, .tar.gz, .tar.zst or .zip, that is uploaded",
  },
  "token-secret": { type: "string", value: "SECRET", summary: "Id of the secret with a token for https" },
  "key-secret": { type: "string", value: "SECRET", summary: "Id of the secret with a private key for ssh" },
  folder: { type: "string", value: "FOLDER", summary: "Static site: the folder that is served (default the root)" },
  spa: { type: "boolean", summary: "Static site: what is not found is answered with the root's index" },
  "not-found": { type: "string", value: "FILE", summary: "Static site: the file that answers for what is not found" },
  dockerfile: { type: "string", value: "FILE", summary: "Build an image from this Dockerfile (default with --port)" },
  "build-context": { type: "string", value: "FOLDER", summary: "Folder that the Dockerfile sees (default the root)" },
  arg: { type: "strings", value: "NAME=VALUE", summary: "Build argument; stays in the image's history: no secrets" },
  port: { type: "integer", value: "PORT", range: [1, 65_535], summary: "Port that it listens on inside its container" },
  env: { type: "strings", value: "NAME=VALUE", summary: "Environment variable" },
  "env-secret": { type: "strings", value: "NAME=SECRET", summary: "Environment variable from a secret, by its id" },
  memory: { type: "string", value: "AMOUNT", summary: "Memory of each container: 256MiB (default 512MiB)" },
  cpus: { type: "string", value: "CORES", summary: "Processor cores of each container: 0.5 (default 1)" },
  health: { type: "string", value: "PATH", summary: "Path that answers 200 to 399 when it is ready (default /)" },
  domain: { type: "strings", value: "HOST", summary: "Further host that it answers for" },
  keep: { type: "integer", value: "N", range: [1, 50], summary: "Releases kept to go back to (default 5)" },
  title: { type: "string", value: "TEXT", summary: "Its title" },
  node: { type: "string", value: "NODE", summary: "Node that it is to live on" },
  file: {
    type: "string",
    short: "f",
    value: "FILE",
    summary:
      "JSON with all that can be said (`spec` of `mill apps show -o json`); flags go before; `-` reads standard input",
  },
} as const;

const editing: readonly Command[] = [
  listing({
    path: "apps list",
    operation: "listApplications",
    collection: "applications",
    shown: applicationColumns,
    nameOf: (row) => row.spec.name,
    nothing: "There is no such application. `mill apps create` makes one, `mill tour` shows one",
    examples: [
      { line: "mill apps list", says: "What there is, and how it stands" },
      { line: "mill apps list --state failed -o name", says: "Names for a script" },
      { line: "mill apps list --watch", says: "And what changes from now on" },
    ],
  }),
  showing({
    path: "apps show",
    operation: "getApplication",
    collection: "applications",
    argument: "app",
    people: async (application) => (await text()).applicationText(application),
    examples: [
      { line: "mill apps show site", says: "What is live, what is asked for, what is wrong" },
      { line: "mill apps show site --at 2026-11-21T08:00:00Z", says: "As it was in the morning" },
      { line: "mill apps show site --wait state=running --timeout 300", says: "When it runs" },
    ],
  }),
  command({
    path: "apps seen",
    summary: "What an application has in the world now",
    description:
      "What is served, its containers, and how often they were restarted, asked of its node at this moment. What differs from what is wanted is put right by the next round.",
    arguments: APP,
    examples: [{ line: "mill apps seen shop", says: "Does it crash again and again?" }],
    impact: "read",
    run: async (call) => (await actions()).seen(call),
  }),
  command({
    path: "apps create",
    summary: "Create an application from a Git repository: a static site, or an image from a Dockerfile",
    description: `It is a static site unless --dockerfile or --port say otherwise. ${FOLLOWED}`,
    arguments: { name: { summary: "Its name: lower-case letters, digits, hyphens" } },
    flags: {
      ...SPEC,
      deploy: { type: "boolean", summary: "Deploy it at once" },
      ...FOLLOW,
    },
    examples: [
      {
        line: "mill apps create site --repository https://git.example.org/site.git --folder public --deploy --wait",
        says: "A static site, deployed at once",
      },
      {
        line: "mill apps create shop -r git@git.example.org:shop.git --port 8080 --env MODE=live --health /healthz",
        says: "An image, built from its Dockerfile",
      },
      { line: "mill apps create docs -r /srv/git/docs.git --ref v2", says: "From a repository on the node's own disk" },
    ],
    impact: "write",
    run: async (call) => (await actions()).create(call),
  }),
  command({
    path: "apps change",
    summary: "Change what is asked of an application",
    description:
      "What is left out stays; `none` takes title or node off. Hosts, title and number of releases hold at once, everything else " +
      "with the next deployment.",
    arguments: APP,
    flags: {
      ...SPEC,
      unset: { type: "strings", value: "NAME", summary: "Environment variable that goes" },
      "remove-domain": { type: "strings", value: "HOST", summary: "Host that it answers for no longer" },
      ...SEEN,
    },
    examples: [
      { line: "mill apps change site --ref v1.4.0", says: "Another branch, tag or commit from now on" },
      {
        line: "mill apps change shop --env MODE=test --unset DEBUG --domain shop.example.org",
        says: "Several at once",
      },
    ],
    impact: "write",
    run: async (call) => (await actions()).change(call as never),
  }),
  command({
    path: "apps delete",
    aliases: ["rm"],
    summary: "Delete an application and all that runs of it; its past can still be read",
    arguments: APP,
    flags: { ...SETTLE, ...SEEN },
    examples: [{ line: "mill apps delete site --yes --wait", says: "Without being asked, until it is gone" }],
    impact: "write",
    run: async (call) => (await actions()).remove(call),
  }),
];

const operating: readonly Command[] = [
  command({
    path: "apps deploy",
    summary: "Deploy an application",
    description: `Takes the place of a deployment that waits, and of one that has not begun to update routes. ${FOLLOWED}`,
    arguments: APP,
    flags: {
      ref: { type: "string", value: "REF", summary: "Another branch, tag or commit, for this once" },
      upload: {
        type: "string",
        value: "PATH",
        summary: "A folder or archive to upload: the application is made from it from now on",
      },
      ...FOLLOW,
      ...SEEN,
    },
    examples: [
      { line: "mill apps deploy site --wait", says: "And see it through" },
      { line: "mill apps deploy site --ref v1.4.0", says: "This tag, this once" },
      { line: "mill apps deploy site --upload ./public --wait", says: "What lies in this folder now" },
    ],
    impact: "write",
    run: async (call) => (await actions()).deploy(call),
  }),
  command({
    path: "apps rollback",
    summary: "Go back to an earlier release, with the configuration that it had",
    description: `Nothing is fetched or built again. ${FOLLOWED}`,
    arguments: APP,
    flags: {
      to: {
        type: "string",
        value: "DEPLOYMENT",
        summary: "Number or id of the deployment to go back to (default the one before)",
      },
      plan: { type: "boolean", summary: "Only show what would change" },
      ...FOLLOW,
      ...SEEN,
    },
    examples: [
      { line: "mill apps rollback site --plan", says: "What would change?" },
      { line: "mill apps rollback site --wait", says: "To the release before" },
      { line: "mill apps rollback site --to 3 --wait", says: "To that of the third deployment" },
    ],
    impact: "write",
    run: async (call) => (await actions()).rollback(call),
  }),
  command({
    path: "apps restart",
    summary: "Restart an application without losing a request, with today's variables and limits",
    description: FOLLOWED,
    arguments: APP,
    flags: { ...FOLLOW, ...SEEN },
    examples: [{ line: "mill apps restart shop --wait", says: "And see it through" }],
    impact: "write",
    run: async (call) => (await actions()).restart(call),
  }),
  command({
    path: "apps start",
    summary: "Start an application that was stopped",
    arguments: APP,
    flags: { ...SETTLE, ...SEEN },
    examples: [{ line: "mill apps start shop --wait", says: "Until it runs" }],
    impact: "write",
    run: async (call) => (await actions()).start(call),
  }),
  command({
    path: "apps stop",
    summary: "Stop an application; what is under way ends first",
    arguments: APP,
    flags: { ...SETTLE, ...SEEN },
    examples: [{ line: "mill apps stop shop --wait", says: "Until nothing of it runs" }],
    impact: "write",
    run: async (call) => (await actions()).stop(call),
  }),
  command({
    path: "apps scale",
    summary: "Run an application with another number of instances",
    arguments: { ...APP, instances: { summary: "1, 2, 3, 4, 6 or 12", choices: ["1", "2", "3", "4", "6", "12"] } },
    flags: { ...SETTLE, ...SEEN },
    examples: [{ line: "mill apps scale shop 3 --wait", says: "Until three of them share its requests" }],
    impact: "write",
    run: async (call) => (await actions()).scale(call),
  }),
];

const deployments: readonly Command[] = [
  listing({
    path: "deployments list",
    operation: "listDeployments",
    collection: "deployments",
    shown: deploymentColumns,
    nameOf: (row) => row.id,
    nothing: "There is no such deployment. `mill apps deploy` asks for one",
    examples: [
      { line: "mill deployments list --over false", says: "What is under way or waits" },
      { line: "mill deployments list --state failed --limit 10", says: "The last that failed" },
      { line: "mill deployments list --watch", says: "And what changes from now on" },
    ],
  }),
  showing({
    path: "deployments show",
    operation: "getDeployment",
    collection: "deployments",
    argument: "deployment",
    people: async (deployment) => (await text()).deploymentText(deployment),
    examples: [
      { line: `mill deployments show ${ID}`, says: "Phases, durations, attempts, what was adopted" },
      { line: `mill deployments show ${ID} --at v3`, says: "As it was after its third event" },
    ],
  }),
  command({
    path: "deployments watch",
    summary: "Follow a deployment to its end",
    description: FOLLOWED,
    arguments: {
      deployment: { summary: "Id of the deployment, or the application", names: { collection: "applications" } },
    },
    examples: [
      { line: "mill deployments watch site", says: "The one that is under way, or was the last" },
      { line: `mill deployments watch ${ID} -o jsonl`, says: "Each state of it, for a program" },
    ],
    impact: "read",
    run: async (call) => (await actions()).watch(call),
  }),
  command({
    path: "deployments cancel",
    summary: "Cancel a deployment; what it has done is undone",
    description: "Before requests were switched it ends cancelled, after that rolled back.",
    arguments: DEPLOYMENT,
    flags: {
      reason: { type: "string", value: "TEXT", summary: "Why, in one line" },
      wait: { type: "boolean", summary: "Follow it to its end; bounded by --timeout (default 900)" },
    },
    examples: [
      { line: `mill deployments cancel ${ID} --reason "The wrong branch" --wait`, says: "Until all is undone" },
    ],
    impact: "write",
    run: async (call) => (await actions()).cancel(call),
  }),
  command({
    path: "nodes",
    summary: "Show the nodes that applications live on, with what they can do",
    examples: [{ line: "mill nodes", says: "Workers, free space, container engine" }],
    impact: "read",
    run: async (call) => (await actions()).nodes(call),
  }),
];

export const applicationCommands: readonly Command[] = [...editing, ...operating, ...deployments];
