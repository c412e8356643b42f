/** Tasks of devices: what is asked of one, and what came of it. */
import { type Command, command } from "../table.ts";
import { DEVICE } from "./devices.ts";
import { listing, showing } from "./entity.ts";

const actions = () => import("../actions/device-tasks.ts");

const TASK = { task: { summary: "Id of the task", names: { collection: "device-tasks" } } } as const;
/** Of everything that asks for a task. */
export const TASKED = {
  wait: { type: "boolean", summary: "Wait until the task has ended; exit code 1 if it did not succeed" },
  expires: {
    type: "integer",
    value: "SECONDS",
    range: [1, 2_592_000],
    summary: "Give it up if it could not be done in so many seconds (default a day)",
  },
} as const;

export const deviceTaskCommands: readonly Command[] = [
  command({
    path: "devices apply",
    summary: "Write to a device what is wanted of it",
    description: "It is read, what differs is written, and read back; what fails is taken back.",
    arguments: DEVICE,
    flags: { "dry-run": { type: "boolean", summary: "Read and plan, and write nothing" }, ...TASKED },
    examples: [
      { line: "mill devices apply hall-lamp --wait", says: "Until it was verified" },
      { line: "mill devices apply front-door --expires 604800", says: "A sleeper: when it wakes, within a week" },
    ],
    impact: "write",
    run: async (call) => (await actions()).task(call, "applyDevice"),
  }),
  ...(["reboot", "read"] as const).map((verb) =>
    command({
      path: `devices ${verb}`,
      summary: verb === "reboot" ? "Reboot a device" : "Have a device read now",
      arguments: DEVICE,
      flags: TASKED,
      examples: [
        { line: `mill devices ${verb} hall-lamp --wait`, says: verb === "reboot" ? "Until it is back" : "Once" },
      ],
      impact: "write",
      run: async (call) => (await actions()).task(call, `${verb}Device`),
    }),
  ),
  command({
    path: "devices firmware",
    summary: "Update the firmware of a device",
    arguments: DEVICE,
    flags: {
      stage: { type: "string", value: "STAGE", choices: ["stable", "beta"], summary: "Which; stable if left out" },
      from: { type: "string", value: "URL", summary: "An image in the device's own network, over plain HTTP" },
      ...TASKED,
    },
    examples: [{ line: "mill devices firmware hall-lamp --wait", says: "Until it was seen to run the new one" }],
    impact: "write",
    run: async (call) => (await actions()).updateFirmware(call),
  }),
  command({
    path: "devices do",
    summary: "Have a device do something: on, off, toggle, open, close, stop, position, set …",
    arguments: {
      ...DEVICE,
      component: { summary: "Of which component: switch:0, cover:0, light:0" },
      action: { summary: "What" },
    },
    flags: {
      ...Object.fromEntries(
        ["after", "position", "slat", "brightness", "transition", "temperature", "red", "green", "blue", "white"].map(
          (name) => [name, { type: "integer", value: "N", summary: `Parameter of the action: ${name}` }],
        ),
      ),
      target: { type: "string", value: "DEGREES", summary: "Of a thermostat: degrees Celsius" },
      ...TASKED,
    },
    examples: [
      { line: "mill devices do hall-lamp switch:0 on --after 300", says: "For five minutes" },
      { line: "mill devices do blind cover:0 position --position 40 --wait", says: "Until it was told" },
    ],
    impact: "write",
    run: async (call) => (await actions()).act(call as never),
  }),
  command({
    path: "devices set-password",
    summary: "Change the password of a device, there and here",
    arguments: DEVICE,
    flags: { none: { type: "boolean", summary: "It asks for none from then on" }, ...TASKED },
    examples: [{ line: "mill devices set-password hall-lamp --wait", says: "Stored when it was seen to take it" }],
    impact: "write",
    run: async (call) => (await actions()).setPassword(call),
  }),
  listing({
    path: "devices tasks list",
    operation: "listDeviceTasks",
    collection: "device-tasks",
    shown: [
      { title: "id", value: (row) => row.id },
      { title: "device", value: (row) => row.spec.name },
      { title: "kind", value: (row) => row.spec.asked.kind },
      { title: "state", value: (row) => row.status.state },
      { title: "why", value: (row) => row.status.failure?.message ?? row.status.waiting?.reason },
      { title: "asked", value: (row) => row.createdAt },
    ],
    nameOf: (row) => row.id,
    nothing: "There is no task",
    examples: [{ line: "mill devices tasks list --state waiting", says: "Those that wait, and for what" }],
  }),
  showing({
    path: "devices tasks show",
    operation: "getDeviceTask",
    collection: "device-tasks",
    argument: "task",
    people: async (task) => (await actions()).taskText(task),
    examples: [{ line: "mill devices tasks show tsk_01kajzq4v0e8r9t2m5x7c3d6fg", says: "Its steps and its plan" }],
  }),
  command({
    path: "devices tasks cancel",
    summary: "Cancel a task; what it has written is taken back",
    arguments: TASK,
    flags: { reason: { type: "string", value: "TEXT", summary: "Why" } },
    examples: [
      { line: "mill devices tasks cancel tsk_01kajzq4v0e8r9t2m5x7c3d6fg", says: "At once, or at the next step" },
    ],
    impact: "write",
    run: async (call) => (await actions()).cancelTask(call),
  }),
];
