/** Uploads: archives that applications are made from, instead of a repository. */
import * as HttpApiEndpoint from "effect/http-api/HttpApiEndpoint";
import * as HttpApiGroup from "effect/http-api/HttpApiGroup";
import * as HttpApiSchema from "effect/http-api/HttpApiSchema";
import * as OpenApi from "effect/http-api/OpenApi";
import * as Schema from "effect/Schema";
import {
  contentHeaders,
  Piece,
  TUS_CHECKSUMS,
  TUS_EXTENSIONS,
  TUS_VERSION,
  tusCreationHeaders,
  tusHeaders,
  tusPieceHeaders,
  UPLOAD_LIMITS,
} from "../bytes.ts";
import { getOf, listOf } from "../endpoints.ts";
import type { PublicEvents } from "../events.ts";
import {
  ActorShown,
  commandHeaders,
  created,
  entity,
  entityParams,
  ORGANISATION,
  organisationParams,
  says,
  Time,
  textFilter,
} from "../http.ts";
import { diffOf, historyOf } from "../past.ts";
import { NodeName, UploadId } from "./values.ts";

const { optionalKey } = Schema;

export const UPLOAD_STATES = ["open", "complete", "removed"] as const;
export type UploadStateName = (typeof UPLOAD_STATES)[number];
export const REMOVALS = ["deleted", "expired"] as const;

const Sha256 = Schema.String.annotate({ description: "SHA-256 of its bytes, in hexadecimal digits" });

export const UploadSpec = Schema.Struct({
  name: Schema.String.annotate({ description: "What it is called: the name of the file" }),
  bytes: Schema.Int.annotate({ description: "How many bytes it has, or is to have" }),
}).annotate({ identifier: "UploadSpec" });

export const UploadStatus = Schema.Struct({
  state: Schema.Literals(UPLOAD_STATES),
  node: NodeName.annotate({ description: "Where it lies: an application made from it lives there" }),
  sha256: optionalKey(Sha256),
  completedAt: optionalKey(Time),
}).annotate({
  identifier: "UploadStatus",
  description: "How many bytes of an open one have arrived is told by `HEAD`, not by the log",
});

export const Upload = Schema.Struct({
  ...entity(UploadId, UploadSpec, UploadStatus).fields,
  createdBy: ActorShown,
}).annotate({ identifier: "Upload" });

export const uploadEvents = {
  UploadOpened: {
    version: 1,
    data: Schema.Struct({ name: Schema.String, bytes: Schema.Int, node: Schema.String }),
    description: "Bytes of an archive may be sent.",
  },
  UploadCompleted: {
    version: 1,
    data: Schema.Struct({ sha256: Sha256 }),
    description: "All bytes of an archive have arrived and lie on the node's disk.",
  },
  UploadRemoved: {
    version: 1,
    data: Schema.Struct({ why: Schema.Literals(REMOVALS) }),
    description: "An archive was deleted, or nobody used it for too long.",
  },
} satisfies PublicEvents;

const all = `${ORGANISATION}/uploads` as const;
const one = `${all}/:id` as const;
const content = `${one}/content` as const;
const PROTOCOL = `The protocol is tus ${TUS_VERSION} with ${TUS_EXTENSIONS.join(", ")}; checksums by ${TUS_CHECKSUMS.join(" or ")}.`;

export const uploadsApi = HttpApiGroup.make("uploads")
  .add(
    HttpApiEndpoint.options("describeUploads", all, {
      params: organisationParams,
      success: HttpApiSchema.NoContent,
    }).annotateMerge(says("applications:read", "What of the upload protocol is spoken", PROTOCOL)),
  )
  .add(
    HttpApiEndpoint.post("createUpload", all, {
      params: organisationParams,
      headers: { ...commandHeaders, ...tusCreationHeaders },
      success: created(Upload),
    }).annotateMerge(
      says(
        "applications:edit",
        "Begin an upload",
        `\`Location\` is where its bytes go. ${PROTOCOL} At most ${UPLOAD_LIMITS.bytes} bytes, and as much as the organisation's quota on the node leaves: else 413.`,
      ),
    ),
  )
  .add(
    HttpApiEndpoint.head("offsetOfUpload", one, {
      params: entityParams,
      headers: tusHeaders,
      success: HttpApiSchema.NoContent,
    }).annotateMerge(says("applications:edit", "How much of an upload has arrived, in `Upload-Offset`")),
  )
  .add(
    HttpApiEndpoint.patch("continueUpload", one, {
      params: entityParams,
      headers: tusPieceHeaders,
      payload: Piece,
      success: HttpApiSchema.NoContent,
    }).annotateMerge(
      says(
        "applications:edit",
        "Send a piece of an upload",
        "What has arrived when the connection breaks is kept. With the last byte the upload is complete before this answers.",
      ),
    ),
  )
  .add(
    HttpApiEndpoint.delete("deleteUpload", one, {
      params: entityParams,
      headers: { ...commandHeaders, ...tusHeaders },
      success: HttpApiSchema.NoContent,
    }).annotateMerge(
      says("applications:edit", "Delete an upload", "What applications were made of it stays with their releases."),
    ),
  )
  .add(
    listOf("listUploads", all, Upload, {
      state: optionalKey(Schema.Literals(UPLOAD_STATES)),
      node: textFilter("Where it lies"),
    }).annotateMerge(says("applications:read", "List uploads")),
  )
  .add(getOf("getUpload", one, Upload).annotateMerge(says("applications:read", "An upload, as it is or as it was")))
  .add(
    HttpApiEndpoint.get("contentOfUpload", content, {
      params: entityParams,
      headers: contentHeaders,
      success: HttpApiSchema.StreamUint8Array(),
    }).annotateMerge(
      says(
        "applications:edit",
        "The bytes of a complete upload, all or one range of them",
        "The ETag is their SHA-256.",
      ),
    ),
  )
  .add(
    HttpApiEndpoint.head("headOfUpload", content, {
      params: entityParams,
      headers: contentHeaders,
      success: HttpApiSchema.NoContent,
    }).annotateMerge(says("applications:edit", "Size and hash of a complete upload's bytes")),
  )
  .add(historyOf("historyOfUpload", one).annotateMerge(says("applications:read", "What happened to an upload")))
  .add(
    diffOf("diffUpload", one).annotateMerge(says("applications:read", "What differs between two moments of an upload")),
  )
  .annotateMerge(OpenApi.annotations({ title: "Uploads", description: "Archives that applications are made from" }));
