/** A gateway and a projector of the file's own, and the shorthand in which tests of work call them. */
import assert from "node:assert/strict";
import { makeLogger } from "@millrace/eventlog/logging.ts";
import { startProjector } from "@millrace/projector/start.ts";
import * as Schema from "effect/Schema";
import { type Answer, ask, testGateway } from "./gateway.ts";
import { deferToEndOfFile } from "./suite.ts";

const HOME = "/v1/organisations/home";

interface Options {
  readonly body?: unknown;
  /** Left out: the owner's. */
  readonly token?: string | undefined;
  readonly headers?: Record<string, string>;
}

/** Started once a file. */
export async function workBench() {
  const { url, owner, config } = await testGateway();
  const projector = await startProjector(config, makeLogger({ service: "projector", level: "error" }));
  deferToEndOfFile(() => projector.stop());

  const call = (method: string, path: string, options: Options = {}): Promise<Answer> =>
    ask(url, method, HOME + path, { token: owner, ...options });

  /** Calls, and says the answer's text when the status is another. */
  const expect = async (status: number, method: string, path: string, options: Options = {}): Promise<Answer> => {
    const answer = await call(method, path, options);
    assert.equal(answer.status, status, `${method} ${path}: ${answer.text}`);
    return answer;
  };

  /** A list as of an answer's position; while a view is built for the first time it is asked again. */
  const listed = async (path: string, after: Answer): Promise<Answer> => {
    const headers = { "millrace-position": after.headers.get("millrace-position")! };
    for (const deadline = Date.now() + 30_000; ; ) {
      const answer = await call("GET", path, { headers });
      if (answer.status !== 503 || Date.now() > deadline) {
        assert.equal(answer.status, 200, answer.text);
        return answer;
      }
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
  };

  const open = (title: string, more: object = {}): Promise<Answer> =>
    expect(201, "POST", "/work-items", { body: { type: "task", title, ...more } });

  const tokenWith = async (name: string, grants: ReadonlyArray<string>): Promise<string> =>
    (await expect(201, "POST", "/tokens", { body: { name, grants } })).body.secret;

  return { url, owner, call, expect, listed, open, tokenWith };
}

/** Reads a body as the contract says, and nothing more. @throws SchemaError */
// biome-ignore lint/suspicious/noExplicitAny: what the schema lets through
export const reads = (schema: Schema.Codec<any, any, never, never>) =>
  Schema.decodeUnknownSync(schema, { onExcessProperty: "error" });

export const titles = ({ body }: Answer): string[] =>
  body.items.map((item: { spec: { title: string } }) => item.spec.title);

/** What was refused: status, and rule or type of the problem. */
export const problem = ({ status, body }: Answer) => [status, body.rule ?? body.type];
