/** Files that belong to work items: their bytes go into the object store, and then what they are into the log. */
import type { IncomingHttpHeaders, IncomingMessage } from "node:http";
import { Readable } from "node:stream";
import { InvalidInput, NotFound, TooLarge } from "@millrace/contracts/problems.ts";
import { LIMITS } from "@millrace/contracts/work/values.ts";
import { item } from "@millrace/domain/work/item.ts";
import { answerContent } from "@millrace/eventlog/bytes-content.ts";
import { faultPoint } from "@millrace/eventlog/faultpoint.ts";
import { type Content, Objects } from "@millrace/eventlog/objects.ts";
import * as Effect from "effect/Effect";
import * as HttpServerResponse from "effect/http/HttpServerResponse";
import { cutWhenStalled } from "../bytes.ts";
import { commands, type Handle, handle, invalidInput, type Request } from "../command.ts";
import { attachmentNamed, SAVED } from "../content.ts";
import { fail, unavailable } from "../failures.ts";
import { type Gateway, loadOwn } from "../gateway.ts";
import { Places } from "../places.ts";

interface Attaching extends Request {
  readonly query: { readonly name: string; readonly mediaType?: string };
}
type Named = Request & { readonly params: { readonly id: string; readonly attachment: string } };

const messageOf = ({ request }: Request): IncomingMessage => request.source as IncomingMessage;
const tooLarge = () =>
  new TooLarge({
    limitBytes: LIMITS.attachmentBytes,
    detail: `An attachment has at most ${LIMITS.attachmentBytes} bytes.`,
    fix: "Put it where large files lie, and write into the item where that is.",
  });

/** The body as it comes. @throws Failed (too-large; invalid-input when the client has gone) */
async function* bodyOf(message: IncomingMessage): AsyncGenerator<Uint8Array> {
  let bytes = 0;
  try {
    // What is refused halfway is answered all the same, over this connection.
    for await (const chunk of message.iterator({ destroyOnReturn: false })) {
      bytes += chunk.length;
      if (bytes > LIMITS.attachmentBytes) break;
      yield chunk;
    }
  } catch {
    fail(new InvalidInput({ detail: "The body could not be read to its end.", fix: "Send all of it." }));
  }
  if (bytes > LIMITS.attachmentBytes) fail(tooLarge());
  if (bytes === 0) fail(invalidInput("/body", "is empty", "Send the bytes of the file."));
}

const noRoom = (free: number, gib: number) =>
  new TooLarge({
    limitBytes: free,
    detail: `The organisation may have ${gib} GiB of attachments; ${free} bytes of that are free.`,
    fix: "Take attachments off that are not needed, whose bytes go some days later; or have MILLRACE_ATTACHMENT_GIB raised.",
  });

export function attachments(gateway: Gateway, newId: (prefix: string) => string) {
  const objects = new Objects(gateway.log.nats);
  const items = commands(gateway, item);
  const places = new Places({
    each: 16,
    all: 200,
    tooMany: (mine) => `This token moves ${mine} attachments already.`,
    full: "This gateway moves as many attachments as it can.",
    fix: "Wait until some have ended.",
  });
  /** What was kept of a request's body. */
  const kept = new WeakMap<IncomingMessage, Content>();

  /** The file lies in the store before anything is said of it: what the log tells of can be read. */
  const keep = handle<Attaching>(gateway, async (request, asked) => {
    const message = messageOf(request);
    const { id } = request.params as { readonly id: string };
    await loadOwn(gateway, item, asked, id);
    // Of unknown length: as much as it can be.
    const bytes = Number(message.headers["content-length"] ?? LIMITS.attachmentBytes);
    if (bytes > LIMITS.attachmentBytes) fail(tooLarge());
    const organisation = asked.organisation!.id;
    const leave = places.enter(asked.token!.id);
    const stop = cutWhenStalled(message.socket, () => message.complete);
    try {
      const room = await objects.room(organisation, bytes, gateway.attachmentGib * 1024 ** 3);
      if (typeof room === "number") return fail(noRoom(room, gateway.attachmentGib));
      try {
        kept.set(message, await objects.put(organisation, bodyOf(message)));
      } finally {
        room(kept.get(message)?.sha256);
      }
    } finally {
      stop();
      leave();
    }
    faultPoint("gateway.attachment.kept");
    return HttpServerResponse.empty();
  });
  const tell = items.act<Request & { readonly payload: Content & { name: string; mediaType: string } }>(
    (request, seen) => ({
      do: "attach",
      attachment: newId("att"),
      ...request.payload,
      ...(seen === undefined ? {} : { seen }),
    }),
  );
  const attach: Handle<Attaching> = (request) =>
    Effect.flatMap(keep(request), (keeping) => {
      const content = kept.get(messageOf(request));
      if (content === undefined) return Effect.succeed(keeping);
      // A repeat is one only if it brings the same bytes, under the same name.
      const { name, mediaType = "application/octet-stream" } = request.query;
      return tell({ ...request, payload: { ...content, name, mediaType } });
    });

  const content: Handle<Named> = handle(gateway, async (request, asked) => {
    const { id, attachment } = request.params;
    const { state } = await loadOwn(gateway, item, asked, id);
    const file =
      state.attachments.find((one) => one.id === attachment) ??
      fail(new NotFound({ detail: "There is no such attachment on this work item." }));
    const message = messageOf(request);
    const { status, headers, range } = answerContent(message.headers as IncomingHttpHeaders, {
      bytes: file.bytes,
      tag: `"${file.sha256}"`,
    });
    const all = { ...SAVED, ...headers, "content-disposition": attachmentNamed(file.name) };
    if (range === undefined) return HttpServerResponse.empty({ status, headers: all });
    const found =
      (await objects.find(asked.organisation!.id, file.sha256)) ??
      fail(unavailable("object store", "The bytes of this attachment are not in the store.", 60));
    const leave = places.enter(asked.token!.id);
    const reading = Readable.from(objects.read(found, range), { objectMode: false });
    const stop = cutWhenStalled(message.socket, () => reading.closed);
    const end = () => reading.destroy();
    message.socket.once("close", end);
    reading.once("close", () => {
      message.socket.off("close", end);
      stop();
      leave();
    });
    return HttpServerResponse.raw(reading, { status, headers: all, contentType: "application/octet-stream" });
  });

  const remove: Handle<Named> = items.act<Named>(({ params }, seen) => ({
    do: "detach",
    attachment: params.attachment,
    ...(seen === undefined ? {} : { seen }),
  }));

  return { attach, content, remove };
}
