/** What must hold of every answer, whatever was asked. */
import { PROBLEMS } from "@millrace/contracts/problems.ts";
import { OPERATIONS, whyNot } from "./document.ts";
import type { Request } from "./plan.ts";
import type { Answer } from "./wire.ts";

const CLOSED_SET = new Map(
  PROBLEMS.map((problem) => {
    const { type, status } = new problem({ rule: "", reason: "", what: "" } as never);
    return [String(type), Number(status)];
  }),
);

/** Schema of each problem's body by status, from any operation: all answer with the same. */
const SCHEMAS = OPERATIONS[0]!.answers;

/** What only a node or the agent of a site can answer; without a body it is not told which is away. */
const ELSEWHERE = /\/(plan|live|content|contents|prune|remote|statistics|review|capabilities)$/;

export interface Verdict {
  /** What does not hold; undefined: all is well. */
  readonly violation: string | undefined;
  readonly body: unknown;
}

const bad = (violation: string, body?: unknown): Verdict => ({
  violation: body === undefined ? violation : `${violation}: ${JSON.stringify(body).slice(0, 500)}`,
  body,
});

export function judge(request: Request, answer: Answer): Verdict {
  const { status, headers, body } = answer;
  // Who cannot read the head does not know that it was HEAD: then there is a body, and the end.
  const unread = request.bodiless && status === 400 && headers.connection === "close";
  if (answer.beyond > 0 && !unread) return bad(`${answer.beyond} bytes after the answer`);
  if (status < 200 || (status >= 300 && status < 400 && status !== 304)) return bad(`an answer of ${status}`);
  const text = body.toString("utf8");
  const documented = request.operation?.answers;
  // All that there is to say stands in its head.
  const isBare = documented?.has(status) && documented.get(status) === undefined && text === "";
  if (status >= 400) return isBare ? { violation: undefined, body: undefined } : judgeProblem(request, answer, text);
  if (request.wrong !== undefined) return bad(`${status}, though ${request.wrong}`, text.slice(0, 500));
  if (documented === undefined || request.bodiless) return { violation: undefined, body: undefined };
  if (!documented.has(status)) return bad(`${status} is not documented`, text.slice(0, 500));
  const wanted = documented.get(status);
  if (wanted === undefined)
    return text === "" ? { violation: undefined, body: undefined } : bad("a body where none is documented", text);
  if (headers["content-type"] !== wanted.type)
    return bad(`it is ${headers["content-type"]}, documented as ${wanted.type}`);
  if (!wanted.type.endsWith("json")) return { violation: undefined, body: undefined };
  const value = parse(text);
  const why = value === undefined ? "no JSON" : whyNot(value, wanted.schema, "", request.sparse);
  return why === undefined
    ? { violation: undefined, body: value }
    : bad(`not as documented: ${why}`, value ?? text.slice(0, 500));
}

function judgeProblem(request: Request, { status, headers }: Answer, text: string): Verdict {
  if (headers["content-type"] !== "application/problem+json")
    return bad(`${status} as ${headers["content-type"]}`, text.slice(0, 500));
  if (request.bodiless) {
    const isAway = status === 503 && ELSEWHERE.test(request.operation?.path ?? "");
    return { violation: status >= 500 && !isAway ? `${status}` : undefined, body: undefined };
  }
  const value = parse(text) as Record<string, unknown> | undefined;
  if (value === undefined) return bad(`${status} without JSON`, text.slice(0, 500));
  if (CLOSED_SET.get(String(value.type)) !== status || value.status !== status)
    return bad(`${status} is ${value.type} ${value.status}`, value);
  const why = whyNot(value, SCHEMAS.get(status)!.schema);
  if (why !== undefined) return bad(`the problem is not as documented: ${why}`, value);
  if (headers["x-request-id"] !== undefined && headers["x-request-id"] !== value.requestId)
    return bad("two request ids", value);
  if (/node_modules|\.ts:\d|\n\s+at |SQLSTATE|NatsError|postgres(ql)?:\/\//i.test(text))
    return bad("it shows its insides", value);
  // Nothing is away here but nodes, publishers (so repositories are never made), and agents of sites, which are not looked for.
  if (status >= 500 && !/^(node |site |the (publisher|repository)$)/.test(String(value.what ?? "")))
    return bad(`${status}`, value);
  return { violation: undefined, body: value };
}

function parse(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
