/** Uploads by tus 1.0.0: what is theirs in the log is decided here, their bytes go on to the node that holds them. */
import type { IncomingMessage } from "node:http";
import { Api } from "@millrace/contracts/api.ts";
import {
  CHECKSUM_MISMATCH,
  readMetadata,
  TUS_CHECKSUMS,
  TUS_EXTENSIONS,
  TUS_VERSION,
  UPLOAD_LIMITS,
} from "@millrace/contracts/bytes.ts";
import { InvalidInput, NotFound, PreconditionFailed, Refused } from "@millrace/contracts/problems.ts";
import { type UploadState, upload } from "@millrace/domain/applications/upload.ts";
import { uploadsView } from "@millrace/domain/applications/views.ts";
import { faultPoint } from "@millrace/eventlog/faultpoint.ts";
import * as Effect from "effect/Effect";
import * as HttpServerResponse from "effect/http/HttpServerResponse";
import * as HttpApiBuilder from "effect/http-api/HttpApiBuilder";
import { type Asked, askedOf } from "../asked.ts";
import { away, down, faultOf, type Holder, Holders, headerOf, hop, problemOfFault } from "../bytes.ts";
import { commands, type Handle, handle, invalidInput, type Request } from "../command.ts";
import { CONTENT, contentHeaders, passedOn, sendDown } from "../content.ts";
import { bodyOfProblem, fail } from "../failures.ts";
import { type Gateway, resolve } from "../gateway.ts";
import { history } from "../history.ts";
import { past } from "../past.ts";
import { Places } from "../places.ts";
import { type ListQuery, list } from "../queries.ts";

const TUS = { "tus-resumable": TUS_VERSION, "cache-control": "no-store" } as const;
const SPOKEN = {
  ...TUS,
  "tus-version": TUS_VERSION,
  "tus-extension": TUS_EXTENSIONS.join(","),
  "tus-checksum-algorithm": TUS_CHECKSUMS.join(","),
  "tus-max-size": `${UPLOAD_LIMITS.bytes}`,
} as const;

type Headers = Readonly<Record<string, string | undefined>>;
const headersOf = (request: Request): Headers => (request.headers ?? {}) as Headers;
const messageOf = (request: Request): IncomingMessage => request.request.source as IncomingMessage;

interface Creating extends Request {
  readonly payload: { readonly bytes: number; readonly name: string; readonly node?: string };
}

/** What tells how long an upload is kept, until the answer to the request that made it. */
const expiries = new WeakMap<Asked, string>();

/** The client must say that it speaks the same version. @throws Failed (412) */
function checkSpoken(request: Request): void {
  const said = headersOf(request)["tus-resumable"];
  if (said === TUS_VERSION) return;
  fail(
    new PreconditionFailed({
      detail: "The request does not say that it speaks the version of tus that is spoken here.",
      fix: `Send \`Tus-Resumable: ${TUS_VERSION}\`.`,
      expected: TUS_VERSION,
      ...(said === undefined ? {} : { actual: said }),
    }),
  );
}

/** What is asked for by headers. @throws Failed (invalid-input) */
function wanted(headers: Headers): Creating["payload"] {
  const length = headers["upload-length"];
  if (length === undefined || length === "0") {
    fail(
      invalidInput(
        "/headers/upload-length",
        length === undefined ? "is missing" : "is nothing",
        "Say how many bytes are to come.",
      ),
    );
  }
  const given = readMetadata(headers["upload-metadata"] ?? "filename dXBsb2Fk");
  if (given === undefined) {
    const fix = "Write it like `filename c2l0ZS50YXI=`: each key with its value in base 64.";
    return fail(invalidInput("/headers/upload-metadata", "cannot be read", fix));
  }
  const { filename, name, node } = given;
  return { bytes: Number(length), name: filename ?? name ?? "upload", ...(node === undefined ? {} : { node }) };
}

/** @throws Failed (unavailable) */
async function roomiest(holders: Holders): Promise<Holder> {
  const all = [...(await holders.all())].sort((a, b) => b.freeBytes - a.freeBytes);
  return all[0] ?? fail(away("of this installation"));
}

/** What the holder says no with, as a problem. */
async function refuse(holder: Holder, answer: IncomingMessage): Promise<never> {
  const problem = problemOfFault(holder.node, await faultOf(answer));
  return fail(problem ?? (answer.statusCode === 404 ? LOST : away(holder.node)));
}

const LOST = new NotFound({ detail: "Nothing of this upload is there any more.", fix: "Begin another." });

/** @throws Failed (not-found) */
async function own(gateway: Gateway, request: Request, asked: Asked): Promise<UploadState> {
  const { id: reference } = request.params as { readonly id: string };
  const id = await resolve(gateway, upload, asked.organisation!.id, reference);
  return (await ofOrganisation(gateway, asked, id)) ?? fail(new NotFound({ detail: "There is no such upload." }));
}

async function ofOrganisation(gateway: Gateway, asked: Asked, id: string): Promise<UploadState | undefined> {
  const loaded = await gateway.log.aggregates.load(upload, id);
  return loaded.organisation === asked.organisation!.id && upload.exists(loaded.state) ? loaded.state : undefined;
}

/** The whole upload that a source names; undefined: it names none. @throws Failed (invalid-input, refused) */
export async function uploadNamed(
  gateway: Gateway,
  asked: Asked,
  source: { readonly kind: string; readonly upload?: string } | undefined,
): Promise<UploadState | undefined> {
  if (source?.kind !== "upload") return undefined;
  const state = await ofOrganisation(gateway, asked, source.upload!);
  if (state === undefined) {
    return fail(
      invalidInput("/body/source/upload", "names no upload of the organisation", "Upload the archive first."),
    );
  }
  return state.state === "complete" ? state : fail(OPEN);
}

const OPEN = new Refused({
  rule: "upload-open",
  reason: "Not all of the upload has arrived.",
  detail: "Not all of the upload has arrived.",
  fix: "Send the rest.",
});

const empty = (headers: Record<string, string>) =>
  HttpServerResponse.empty({ status: 204, headers: { ...TUS, ...headers } });

const offset = <R extends Request>(gateway: Gateway, holders: Holders): Handle<R> =>
  handle(gateway, async (request, asked) => {
    checkSpoken(request);
    const state = await own(gateway, request, asked);
    const length = { "upload-length": `${state.bytes}` };
    if (state.state === "complete") return empty({ ...length, "upload-offset": `${state.bytes}` });
    const holder = await holders.of(state.node);
    const answer = await hop(gateway, holders, holder, asked, { act: "offset", resource: state.id });
    answer.resume();
    const at = headerOf(answer.headers, "upload-offset");
    if (answer.statusCode !== 200 || at === undefined) return refuse(holder, answer);
    return empty({ ...length, ...passedOn(answer, ["upload-offset", "upload-expires"]) });
  });

const proceed = <R extends Request>(gateway: Gateway, holders: Holders, places: Places): Handle<R> =>
  handle(gateway, async (request, asked) => {
    checkSpoken(request);
    const headers = headersOf(request);
    const body = messageOf(request);
    if (headers["upload-offset"] === undefined) {
      fail(invalidInput("/headers/upload-offset", "is missing", "Send where the piece begins: what HEAD answers."));
    }
    const sum = headers["upload-checksum"]?.split(" ")[0] as (typeof TUS_CHECKSUMS)[number] | undefined;
    if (sum !== undefined && !TUS_CHECKSUMS.includes(sum)) {
      fail(invalidInput("/headers/upload-checksum", `is by ${sum}`, `Use one of ${TUS_CHECKSUMS.join(", ")}.`));
    }
    const state = await own(gateway, request, asked);
    if (state.state === "complete") fail(problemOfFault(state.node, { fault: "offset", offset: state.bytes })!);
    const holder = await holders.of(state.node);
    const leave = places.enter(asked.token!.id);
    try {
      const answer = await hop(gateway, holders, holder, asked, {
        act: "append",
        resource: state.id,
        maxBytes: state.bytes,
        headers: { "upload-offset": headers["upload-offset"], "upload-checksum": headers["upload-checksum"] },
        body,
      });
      if (answer.statusCode === CHECKSUM_MISMATCH) return mismatch(asked, answer);
      if (answer.statusCode !== 204) return await refuse(holder, answer);
      answer.resume();
      return empty(passedOn(answer, ["upload-offset", "upload-expires"]));
    } finally {
      leave();
    }
  });

/** The status is the protocol's own, the rest as with all problems. */
function mismatch(asked: Asked, answer: IncomingMessage): HttpServerResponse.HttpServerResponse {
  answer.resume();
  const problem = new InvalidInput({
    detail: "The piece is not what its checksum says; nothing of it is kept.",
    errors: [{ pointer: "/headers/upload-checksum", detail: "is that of another piece" }],
    fix: "Send it again from the same offset.",
  });
  const body = { ...JSON.parse(bodyOfProblem(problem, asked.requestId)), status: CHECKSUM_MISMATCH };
  const contentType = "application/problem+json";
  return HttpServerResponse.text(JSON.stringify(body), { status: CHECKSUM_MISMATCH, contentType, headers: TUS });
}

const remove = <R extends Request>(gateway: Gateway, holders: Holders, act: Handle<R>): Handle<R> =>
  speaking(gateway, (request, asked) =>
    Effect.flatMap(act(request), (answer) =>
      Effect.promise(async () => {
        if (answer.status !== 200) return answer;
        const headers = { ...TUS, "millrace-position": answer.headers["millrace-position"]! };
        await takeAway(gateway, holders, request, asked).catch(() => {
          // The node's own round finds it.
        });
        return HttpServerResponse.empty({ status: 204, headers });
      }),
    ),
  );

async function takeAway(gateway: Gateway, holders: Holders, request: Request, asked: Asked): Promise<void> {
  const { id } = request.params as { readonly id: string };
  const { state } = await gateway.log.aggregates.load(upload, id);
  // Of a complete one the node knows whether its content is still needed.
  if (state.sha256 !== null) return;
  const answer = await hop(gateway, holders, await holders.of(state.node), asked, { act: "remove", resource: id });
  answer.resume();
}

/** A handler of the protocol: 412 where another version is spoken. */
const speaking = <R extends Request>(
  gateway: Gateway,
  answer: (request: R, asked: Asked) => ReturnType<Handle<R>>,
  check: (request: R) => unknown = () => {},
): Handle<R> => {
  const checked = handle<R>(gateway, async (request) => {
    checkSpoken(request);
    check(request);
    return HttpServerResponse.empty();
  });
  return (request) =>
    Effect.flatMap(checked(request), (checking) =>
      checking.status === 204 ? answer(request, askedOf(request.request)) : Effect.succeed(checking),
    );
};

const content = <R extends Request>(gateway: Gateway, holders: Holders, places: Places): Handle<R> =>
  handle(gateway, async (request, asked) => {
    const state = await own(gateway, request, asked);
    if (state.state !== "complete") fail(OPEN);
    const holder = await holders.of(state.node);
    const { socket } = messageOf(request);
    const isHead = request.request.method === "HEAD";
    const leave = places.enter(asked.token!.id);
    socket.once("close", leave);
    try {
      const { range, "if-range": ifRange, "if-none-match": ifNoneMatch } = headersOf(request);
      const headers = { range, "if-range": ifRange, "if-none-match": ifNoneMatch };
      const asks = { act: "read", resource: state.id, headers } as const;
      if (!isHead)
        return await sendDown(await down(gateway, holders, holder, asked, asks), { ...state, lost: LOST }, asked);
      const answer = await hop(gateway, holders, holder, asked, { ...asks, method: "HEAD" });
      const { statusCode: status = 0 } = answer;
      if (!CONTENT.has(status)) return await refuse(holder, answer);
      answer.resume();
      return HttpServerResponse.empty({ status, headers: contentHeaders(state, answer) });
    } finally {
      // A connection that is kept sees many of these.
      socket.off("close", leave);
      leave();
    }
  });

export const uploadRoutes = (gateway: Gateway) => {
  const holders = new Holders(gateway, "orchestrator");
  const places = new Places({
    each: 32,
    all: 500,
    tooMany: (mine) => `This token moves ${mine} streams of bytes already.`,
    full: "This gateway moves as many streams of bytes as it can.",
    fix: "Wait until some have ended.",
  });
  const uploads = commands(gateway, upload);
  const pastUploads = past(gateway, upload);
  const create = uploads.create(async (request: Creating, asked, id) => {
    const { bytes, name, node } = request.payload;
    const holder = await (node === undefined ? roomiest(holders) : holders.of(node));
    const answer = await hop(gateway, holders, holder, asked, {
      act: "reserve",
      resource: id,
      maxBytes: bytes,
      headers: { "upload-length": `${bytes}` },
    });
    if (answer.statusCode !== 201) await refuse(holder, answer);
    answer.resume();
    expiries.set(asked, headerOf(answer.headers, "upload-expires") ?? "");
    faultPoint("gateway.upload.reserved");
    return { do: "open", bytes, name, node: holder.node };
  });

  return HttpApiBuilder.group(Api, "uploads", (handlers) =>
    handlers
      .handle(
        "describeUploads",
        handle(gateway, async () => HttpServerResponse.empty({ status: 204, headers: SPOKEN })),
      )
      .handle(
        "createUpload",
        speaking(
          gateway,
          (request, asked) =>
            Effect.map(create({ ...request, payload: wanted(headersOf(request)) }), (made) => {
              const expires = expiries.get(asked);
              return HttpServerResponse.setHeaders(made, { ...TUS, ...(expires ? { "upload-expires": expires } : {}) });
            }),
          (request) => wanted(headersOf(request)),
        ),
      )
      .handle("offsetOfUpload", offset(gateway, holders))
      .handle("continueUpload", proceed(gateway, holders, places))
      .handle(
        "deleteUpload",
        remove(
          gateway,
          holders,
          uploads.act(() => ({ do: "remove", why: "deleted" })),
        ),
      )
      .handle(
        "listUploads",
        list(gateway, uploadsView, {
          query: ({ state, ...query }: ListQuery) => ({
            ...query,
            ...(state === undefined ? {} : { stateName: state }),
          }),
        }),
      )
      .handle("getUpload", pastUploads.get())
      .handle("contentOfUpload", content(gateway, holders, places))
      .handle("headOfUpload", content(gateway, holders, places))
      .handle("historyOfUpload", history(gateway, upload))
      .handle("diffUpload", pastUploads.diff()),
  );
};
