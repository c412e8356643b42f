/** An archive that was uploaded: the log knows that it is wanted, when it is whole, and its hash; its bytes lie on a node's disk. */

import { type REMOVALS, type UploadStateName, uploadEvents } from "@millrace/contracts/applications/uploads.ts";
import { PATTERNS } from "@millrace/contracts/applications/values.ts";
import { UPLOAD_LIMITS } from "@millrace/contracts/bytes.ts";
import { type Actor, type Decider, type Decision, rule } from "../decider.ts";
import { Faults, says } from "../faults.ts";
import type { Kind } from "../kind.ts";

type Removal = (typeof REMOVALS)[number];

export interface UploadState {
  readonly id: string;
  readonly organisation: string;
  readonly name: string;
  readonly bytes: number;
  readonly node: string;
  /** Null: there has never been one. */
  readonly state: UploadStateName | null;
  readonly sha256: string | null;
  readonly createdAt: string;
  readonly createdBy: Actor;
  readonly updatedAt: string;
  readonly completedAt: string | null;
}

export type UploadCommand =
  | { readonly do: "open"; readonly name: string; readonly bytes: number; readonly node: string }
  /** By the node, when every byte lies on its disk. */
  | { readonly do: "complete"; readonly sha256: string; readonly bytes: number }
  | { readonly do: "remove"; readonly why: Removal };

type UploadEvent =
  | {
      readonly type: "UploadOpened";
      readonly data: { readonly name: string; readonly bytes: number; readonly node: string };
    }
  | { readonly type: "UploadCompleted"; readonly data: { readonly sha256: string } }
  | { readonly type: "UploadRemoved"; readonly data: { readonly why: Removal } };

const fileName = says(
  (text) => text.length <= UPLOAD_LIMITS.name && /^[^\p{Cc}\p{Cs}/\\]+$/u.test(text) && text !== "." && text !== "..",
  `1 to ${UPLOAD_LIMITS.name} characters, without slashes and control characters`,
);
const nodeName = says((text) => PATTERNS.node.test(text), "the name of a node");
const SHA256 = /^[0-9a-f]{64}$/;

const decider: Decider<UploadState, UploadCommand, UploadEvent> = {
  initial: (id) => ({
    id,
    organisation: "",
    name: "",
    bytes: 0,
    node: "",
    state: null,
    sha256: null,
    createdAt: "",
    createdBy: { kind: "system", id: "", name: "" },
    updatedAt: "",
    completedAt: null,
  }),
  evolve: (state, event, { organisation, time, actor }) => {
    const next = { ...state, updatedAt: time };
    switch (event.type) {
      case "UploadOpened":
        return { ...next, ...event.data, organisation, state: "open", createdAt: time, createdBy: actor };
      case "UploadCompleted":
        return { ...next, state: "complete", sha256: event.data.sha256, completedAt: time };
      case "UploadRemoved":
        return { ...next, state: "removed" };
    }
  },
  decide: (command, state): Decision<UploadEvent> => {
    if (command.do === "open") return open(command, state);
    if (state.state === null) return { refused: "not-found", reason: "There is no such upload." };
    if (command.do === "remove") {
      return { events: state.state === "removed" ? [] : [{ type: "UploadRemoved", data: { why: command.why } }] };
    }
    const { sha256, bytes } = command;
    if (state.state === "complete" && state.sha256 === sha256) return { events: [] };
    if (state.state !== "open") return rule("upload-over", `The upload is ${state.state}.`, "Begin another upload.");
    if (!SHA256.test(sha256) || bytes !== state.bytes) {
      return rule("upload-incomplete", `It has ${bytes} bytes of ${state.bytes}.`, "Send the rest of it.");
    }
    return { events: [{ type: "UploadCompleted", data: { sha256 } }] };
  },
};

function open({ name, bytes, node }: UploadCommand & { do: "open" }, state: UploadState): Decision<UploadEvent> {
  if (state.state !== null) {
    return { refused: "conflict", reason: "This upload exists already.", fix: "Use another Idempotency-Key." };
  }
  const faults = new Faults().check("/name", fileName, name).check("/node", nodeName, node);
  if (!Number.isSafeInteger(bytes) || bytes < 1 || bytes > UPLOAD_LIMITS.bytes) {
    faults.add("/bytes", `a number of 1 to ${UPLOAD_LIMITS.bytes}`);
  }
  return faults.refusal() ?? { events: [{ type: "UploadOpened", data: { name, bytes, node } }] };
}

const WHY: Readonly<Record<Removal, string>> = {
  deleted: "deleted the upload",
  expired: "removed the upload: nobody used it for too long",
};
const EXAMPLE = { name: "site.tar.gz", bytes: 48_213, node: "local" };
const HASH = "b5bb9d8014a0f9b1d61e21e796d78dccdf1352f23cd32812f4850b878ae4944c";

export const upload: Kind<UploadState, UploadCommand, UploadEvent> = {
  context: "applications",
  kind: "upload",
  prefix: "upl",
  collection: "uploads",
  decider,
  events: {
    UploadOpened: {
      version: 1,
      data: uploadEvents.UploadOpened.data,
      examples: { 1: EXAMPLE },
      sentence: ({ name, bytes }) => `began to upload ${name} of ${bytes} bytes`,
    },
    UploadCompleted: {
      version: 1,
      data: uploadEvents.UploadCompleted.data,
      examples: { 1: { sha256: HASH } },
      sentence: ({ sha256 }) => `has all of the upload, ${sha256.slice(0, 12)}`,
    },
    UploadRemoved: {
      version: 1,
      data: uploadEvents.UploadRemoved.data,
      examples: { 1: { why: "deleted" } },
      sentence: ({ why }: { readonly why: Removal }) => WHY[why],
    },
  },
  publicEvents: uploadEvents,
  generation: ({ state }) => (state === null ? 0 : 1),
  exists: ({ state }) => state !== null && state !== "removed",
  over: ({ state }) => state === "complete" || state === "removed",
  represent: (state) => ({
    id: state.id,
    organisation: state.organisation,
    generation: 1,
    spec: { name: state.name, bytes: state.bytes },
    status: {
      state: state.state,
      node: state.node,
      ...(state.sha256 === null ? {} : { sha256: state.sha256 }),
      ...(state.completedAt === null ? {} : { completedAt: state.completedAt }),
    },
    createdAt: state.createdAt,
    updatedAt: state.updatedAt,
    createdBy: state.createdBy,
  }),
  stateVersion: 1,
};
