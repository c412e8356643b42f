/** One machine: start, stop, look, set up. */
import { command } from "../table.ts";

const DATA = {
  data: { type: "string", value: "FOLDER", summary: "The folder with all state (MILLRACE_DATA; default .millrace)" },
} as const;

const actions = () => import("../actions/platform.ts");
const touring = () => import("../actions/tour.ts");
const machine = () => import("../actions/machine.ts");

export const platformCommands = [
  command({
    path: "up",
    summary: "Start everything on this machine, in the foreground",
    description:
      "Starts NATS, PostgreSQL and the services as processes that end with this one, and keeps them running. All state is in " +
      "one folder; the next start on it comes back to the same state. Ctrl-C stops all in order. Several run beside each " +
      "other, each with its own --data and --port. The installation becomes a context of this user, so that every other " +
      "command finds it.",
    flags: {
      ...DATA,
      port: { type: "string", value: "PORT", summary: "The gateway's port, 0 for any free one (MILLRACE_PORT; 7400)" },
      host: { type: "string", value: "ADDRESS", summary: "Where the gateway listens (MILLRACE_HOST; 127.0.0.1)" },
      processes: {
        type: "string",
        value: "each|one",
        summary: "A process for each service, or one for all: less memory, sooner there (MILLRACE_PROCESSES; each)",
      },
    },
    examples: [
      { line: "mill up", says: "Start on .millrace, at http://127.0.0.1:7400" },
      { line: "mill up --data ~/second --port 7500", says: "A second one beside it" },
      { line: "mill up --processes one", says: "On a small machine" },
    ],
    impact: "write",
    run: async (call) => (await actions()).up(call),
  }),
  command({
    path: "tour",
    summary: "Two minutes on this machine: an application is deployed, its worker killed, and it goes on",
    description:
      "Makes an application of an example, deploys it, changes it, kills the orchestrator in the middle of the next deployment and " +
      "shows how that goes on, goes back to the former release, and looks at the past; with a container engine also an application " +
      "from a Dockerfile. Every command is shown and run. At the end all of it is taken away again. Needs `mill up` in another " +
      "terminal.",
    flags: {
      keep: { type: "boolean", summary: "Leave the applications there" },
      "base-image": {
        type: "string",
        value: "IMAGE",
        summary: "What the container is built on (default busybox:1.37, fetched from Docker Hub)",
      },
    },
    examples: [
      { line: "mill tour", says: "Look what happens" },
      { line: "mill tour --keep", says: "And go on by yourself with what is there" },
    ],
    impact: "write",
    run: async (call) => (await touring()).tour(call),
  }),
  command({
    path: "down",
    summary: "Stop what runs on a data folder",
    description: "Asks the `mill up` of that folder to stop all in order, and waits; ends what a killed one left.",
    flags: DATA,
    examples: [
      { line: "mill down", says: "Stop the installation of the selected context" },
      { line: "mill down --data ~/second", says: "Stop another" },
    ],
    impact: "write",
    run: async (call) => (await actions()).down(call),
  }),
  command({
    path: "status",
    summary: "Show what runs on a data folder: processes, ports, health, lag of the projections",
    description: "Exit code 1 when it does not run, or not all of it is ready.",
    flags: DATA,
    examples: [
      { line: "mill status", says: "The installation of the selected context" },
      { line: "mill status -o json", says: "The same for a program" },
    ],
    impact: "read",
    run: async (call) => (await machine()).status(call),
  }),
  command({
    path: "doctor",
    summary: "Say for each context what is there, what is missing, and what installs it",
    description: "Exit code 1 when something that Millrace cannot run without is missing.",
    examples: [{ line: "mill doctor", says: "Look before the first start" }],
    impact: "read",
    run: async (call) => (await machine()).doctor(call),
  }),
  command({
    path: "setup",
    summary: "Install what is missing and may be installed",
    examples: [{ line: "mill setup", says: "Bring what `mill doctor` names" }],
    impact: "write",
    run: async (call) => (await machine()).setup(call),
  }),
  command({
    path: "config",
    summary: "Show the settings of `mill up`, and where each comes from",
    description: "From a flag, the environment, millrace.toml, or the default, in this order. Secrets are never shown.",
    examples: [
      { line: "mill config", says: "What `mill up` would use here" },
      { line: "mill config -o json", says: "The same for a program" },
    ],
    impact: "read",
    run: async (call) => (await machine()).config(call),
  }),
];
