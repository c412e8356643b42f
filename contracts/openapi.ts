/** The OpenAPI 3.1 document, made from the contracts; `openapi.json` is the committed copy, and a test keeps the two alike. */
import * as Context from "effect/Context";
import * as HttpApi from "effect/http-api/HttpApi";
import * as OpenApi from "effect/http-api/OpenApi";
import { Api } from "./api.ts";
import { PERMISSIONS, Requires } from "./permissions.ts";

type Json = Record<string, any>;

const HEADERS: Json = {
  "X-Request-Id": {
    description: "Of this request: yours if you sent a sane one. Log lines and problems name it.",
    schema: { type: "string" },
  },
  ETag: { description: "The entity's generation, for `If-Match`", schema: { type: "string", examples: ['"3"'] } },
  "Millrace-Position": {
    description: "Send it with a query to see at least everything up to here",
    schema: { type: "string" },
  },
  Location: { description: "Of what was created", schema: { type: "string" } },
  "Idempotent-Replayed": {
    description: "`true` where the answer is that of an earlier request with this Idempotency-Key",
    schema: { type: "string", enum: ["true"] },
  },
  "Retry-After": { description: "Seconds", schema: { type: "integer" } },
  "Content-Range": { description: "`bytes first-last/all`; `bytes */all` with 416", schema: { type: "string" } },
};

/** What requests for content are answered with as well (RFC 9110, 14 and 15), which says no more than its head. */
const partial = (whole: Json): Json => ({
  206: { ...whole, description: "The range that was asked for" },
  304: { description: "Not changed: its ETag is among those of `If-None-Match`" },
  416: { description: "The range begins behind the end; `Content-Range` says where that is. There is no body" },
});

const headersOf = (method: string, path: string, status: number): string[] => {
  const names = ["X-Request-Id"];
  if (status === 206 || status === 416) names.push("Content-Range");
  if (status === 503 || status === 429) names.push("Retry-After");
  if (status >= 300) return names;
  names.push("Millrace-Position");
  if (method !== "get") names.push("Idempotent-Replayed");
  if (status === 201) names.push("Location");
  if (status !== 204 && (method !== "get" || path.endsWith("}"))) names.push("ETag");
  return names;
};

/** The document as plain JSON. */
export function openapi(): Json {
  const document = OpenApi.fromApi(Api as never) as unknown as Json;
  document.components.headers = HEADERS;
  const permissions = permissionsByOperation();
  for (const [path, operations] of Object.entries<Json>(document.paths)) {
    for (const [method, operation] of Object.entries<Json>(operations)) {
      const permission = permissions.get(`${method} ${path}`)!;
      operation["x-permission"] = permission;
      if (permission in PERMISSIONS) {
        operation.description = [operation.description, `Takes the permission \`${permission}\`.`]
          .filter(Boolean)
          .join(" ");
      }
      if (operation.parameters?.some((one: Json) => one.in === "header" && one.name === "range"))
        Object.assign(operation.responses, partial(operation.responses[200]));
      for (const [status, response] of Object.entries<Json>(operation.responses)) {
        response.headers = Object.fromEntries(
          headersOf(method, path, Number(status)).map((name) => [name, { $ref: `#/components/headers/${name}` }]),
        );
        if (Number(status) >= 400 && response.content !== undefined)
          operation.responses[status] = shared(document, status, response);
      }
    }
  }
  return JSON.parse(JSON.stringify(document)) as Json;
}

/** Every operation may answer with every problem: each stands in the document once. */
function shared(document: Json, status: string, response: Json): Json {
  const all: Json = document.components.responses ?? {};
  document.components.responses = { [`Problem${status}`]: response, ...all };
  const known: Json = document.components.responses[`Problem${status}`];
  return JSON.stringify(known) === JSON.stringify(response)
    ? { $ref: `#/components/responses/Problem${status}` }
    : response;
}

function permissionsByOperation(): Map<string, string> {
  const permissions = new Map<string, string>();
  HttpApi.reflect(Api as never, {
    onGroup: () => {},
    onEndpoint: ({ endpoint }) => {
      const path = endpoint.path.replaceAll(/:([a-zA-Z]+)/g, "{$1}");
      const permission = Context.getOrUndefined(endpoint.annotations, Requires);
      if (permission === undefined) throw new Error(`${endpoint.identifier} does not say who may call it`);
      permissions.set(`${endpoint.method.toLowerCase()} ${path}`, permission);
    },
  });
  return permissions;
}
