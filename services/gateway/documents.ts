/** What the gateway serves beside the API: its descriptions, and a page for every problem. */
import { readFileSync } from "node:fs";
import { PROBLEMS } from "@millrace/contracts/problems.ts";

export interface Document {
  readonly type: string;
  readonly body: string;
  /** For metrics. */
  readonly route: string;
  readonly headers: Readonly<Record<string, string>>;
}

export interface Documents {
  find(path: string): Document | undefined;
}

/** The files stand in contracts, made by its `generate.ts`. */
const FILES = { "/openapi.json": "openapi.json", "/asyncapi.json": "asyncapi.json" };

export function openDocuments(): Documents {
  const documents = new Map<string, Document>();
  for (const [path, file] of Object.entries(FILES)) {
    const body = readContract(file);
    if (body !== undefined) documents.set(path, { type: "application/json", body, route: path, headers: {} });
  }
  for (const page of problemPages()) documents.set(page.path, page.document);
  return { find: (path) => documents.get(path) };
}

function readContract(file: string): string | undefined {
  try {
    return readFileSync(new URL(import.meta.resolve(`@millrace/contracts/${file}`)), "utf8");
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return undefined;
    throw error;
  }
}

/** What a reader of a problem wants to know: what it means, whether to try again, and what to do. */
const PAGES: Readonly<Record<string, readonly [retry: string, help: string]>> = {
  "invalid-input": [
    "Not as it is.",
    "`errors` names each place by a JSON pointer (`/body/…`, `/query/…`, `/headers/…`) and what is wrong there. Unknown fields are refused, too.",
  ],
  unauthenticated: [
    "Not with this token.",
    "Send `Authorization: Bearer <token>` with a token that has neither expired nor been revoked.",
  ],
  forbidden: [
    "Not with this token.",
    "`permission` names what is needed. Whoever holds `identity:tokens` can make a token that has it.",
  ],
  "not-found": [
    "Only if it is created.",
    "Either it is not there, or it belongs to an organisation that the token cannot see: both answer alike. A path that exists with other methods says so in `Allow`.",
  ],
  conflict: [
    "After a look.",
    "Something else has that name, is in that state, or the same request is still running. `fix` says which way leads on.",
  ],
  "precondition-failed": [
    "After reading again.",
    "Somebody changed it since you read it. `actual` is the ETag of today: read, and repeat the change with it in `If-Match`.",
  ],
  "too-large": ["Not as it is.", "`limitBytes` is what is taken at once."],
  "unsupported-type": ["Not as it is.", "Bodies are `application/json` in UTF-8, not compressed."],
  refused: [
    "Once the reason is gone.",
    "A rule of the domain said no: `rule` names it, `reason` says why, `fix` what would let it pass.",
  ],
  "precondition-required": [
    "With the header.",
    "A change says which state it was made for: send `If-Match` with the ETag you saw, or `*` for any.",
  ],
  "rate-limited": [
    "After `Retry-After`.",
    "Too many requests in too short a time. The `RateLimit` header tells how many are left.",
  ],
  unavailable: [
    "After `Retry-After`.",
    "`what` names the part that is missing at this moment. Nothing is lost; with an `Idempotency-Key` a repeat is safe.",
  ],
  internal: ["Perhaps.", "A bug. The server's log has a line with the same `requestId`; please report it."],
};

function* problemPages(): Generator<{ path: string; document: Document }> {
  const known = PROBLEMS.map((problem) => {
    const { type, title, status } = new problem({ rule: "", reason: "", what: "" } as never);
    return { name: type.slice("/problems/".length), title, status: Number(status) };
  });
  const all = [...known, { name: "internal", title: "A fault of the server", status: 500 }];
  for (const { name, title, status } of all) {
    const [retry, help] = PAGES[name] ?? ["", ""];
    yield {
      path: `/problems/${name}`,
      document: html("/problems/{name}", `${status} ${title}`, [help, `Same request again: ${retry}`]),
    };
  }
  const list = all.map(({ name, title, status }) => `<a href="/problems/${name}">${status} ${title}</a>`);
  yield { path: "/problems/", document: html("/problems/", "Every problem there is", list, true) };
}

const inHtml = (text: string) => text.replaceAll("&", "&amp;").replaceAll("<", "&lt;");
const code = (text: string) => inHtml(text).replaceAll(/`([^`]+)`/g, "<code>$1</code>");

function html(route: string, title: string, paragraphs: ReadonlyArray<string>, raw = false): Document {
  const body = paragraphs.map((text) => `<p>${raw ? text : code(text)}</p>`).join("\n");
  return {
    type: "text/html; charset=utf-8",
    route,
    headers: { "cache-control": "public, max-age=3600" },
    body: `<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>${inHtml(title)}</title></head><body>\n<h1>${inHtml(title)}</h1>\n${body}\n</body></html>\n`,
  };
}
