/** Files that belong to work items: how they come, are read, and are taken off. */
import * as HttpApiEndpoint from "effect/http-api/HttpApiEndpoint";
import * as HttpApiSchema from "effect/http-api/HttpApiSchema";
import * as Schema from "effect/Schema";
import { contentHeaders } from "../bytes.ts";
import { changeHeaders, entityParams, ORGANISATION, says } from "../http.ts";
import { Reference } from "../ids.ts";
import { WorkItem } from "./entities.ts";
import { FileName, LIMITS, MediaType } from "./values.ts";

const all = `${ORGANISATION}/work-items/:id/attachments` as const;
const one = `${all}/:attachment` as const;
const params = { ...entityParams, attachment: Reference };

export const attachFile = HttpApiEndpoint.post("attachFile", all, {
  params: entityParams,
  headers: changeHeaders,
  query: { name: FileName, mediaType: Schema.optionalKey(MediaType) },
  payload: HttpApiSchema.StreamUint8Array({ contentType: "application/octet-stream" }),
  success: WorkItem,
}).annotateMerge(
  says(
    "work:edit",
    "Attach a file to a work item",
    `The body is the file, of 1 to ${LIMITS.attachmentBytes} bytes; an item has at most ${LIMITS.attachments} of them. Answers with the work item when all of it is kept. Left out, the media type is \`application/octet-stream\`.`,
  ),
);
export const contentOfAttachment = HttpApiEndpoint.get("contentOfAttachment", one, {
  params,
  headers: contentHeaders,
  success: HttpApiSchema.StreamUint8Array(),
}).annotateMerge(
  says("work:read", "The bytes of an attachment, all or one range of them", "The ETag is their SHA-256."),
);
export const removeAttachment = HttpApiEndpoint.delete("removeAttachment", one, {
  params,
  headers: changeHeaders,
  success: WorkItem,
}).annotateMerge(
  says(
    "work:edit",
    "Take an attachment off a work item; answers with the work item",
    "Its bytes cannot be read through the item any more; they stay in the store.",
  ),
);
