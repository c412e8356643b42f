/** The rules of files that belong to a work item. */
import { LIMITS, PATTERNS } from "@millrace/contracts/work/values.ts";
import { type Decision, type Refusal, rule } from "../decider.ts";
import * as field from "./fields.ts";
import type { AttachmentCommand } from "./item-command.ts";
import type { ItemEvent, ItemState } from "./item-state.ts";

/** What an item with all the attachments it may have says to another one. */
export const tooManyAttachments = rule(
  "too-many-attachments",
  `A work item has at most ${LIMITS.attachments} attachments.`,
  "Take one off first, or attach an archive of several files.",
);
const none: Refusal = { refused: "not-found", reason: "There is no such attachment on this work item." };

export function decideAttachments(command: AttachmentCommand, { attachments }: ItemState): Decision<ItemEvent> {
  const { attachment } = command;
  const found = attachments.find(({ id }) => id === attachment);
  if (command.do === "detach") {
    return found === undefined
      ? none
      : { events: [{ type: "AttachmentRemoved", data: { attachment, name: found.name } }] };
  }
  const { name, bytes, sha256, mediaType } = command;
  const faults = new field.Faults().check("/name", field.file, name).check("/mediaType", field.mediaType, mediaType);
  if (!Number.isSafeInteger(bytes) || bytes < 1 || bytes > LIMITS.attachmentBytes) {
    faults.add("/bytes", `1 to ${LIMITS.attachmentBytes}`);
  }
  if (!PATTERNS.sha256.test(sha256)) faults.add("/sha256", "64 hexadecimal digits in lower case");
  if (faults.any) return faults.refusal()!;
  if (found !== undefined) {
    return {
      refused: "conflict",
      reason: "An attachment with this id exists already.",
      fix: "Use another Idempotency-Key.",
    };
  }
  if (attachments.length >= LIMITS.attachments) return tooManyAttachments;
  return { events: [{ type: "AttachmentAdded", data: { attachment, name, bytes, sha256, mediaType } }] };
}
