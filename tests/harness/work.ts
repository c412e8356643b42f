/** A gateway and a projector of the file's own, and the shorthand in which tests of work call them. */
import * as Schema from "effect/Schema";
import { type Answer, callerOf, testGateway, testProjector } from "./gateway.ts";

/** Started once a file. */
export async function workBench() {
  const { url, owner, config } = await testGateway();
  await testProjector(config);

  const { call, expect, listed } = callerOf({ url, owner });

  const open = (title: string, more: object = {}): Promise<Answer> =>
    expect(201, "POST", "/work-items", { body: { type: "task", title, ...more } });

  const tokenWith = async (name: string, grants: ReadonlyArray<string>): Promise<string> =>
    (await expect(201, "POST", "/tokens", { body: { name, grants } })).body.secret;

  return { url, owner, call, expect, listed, open, tokenWith };
}

/** Reads a body as the contract says, and nothing more. @throws SchemaError */
export const reads = (schema: Schema.Codec<any, any, never, never>) =>
  Schema.decodeUnknownSync(schema, { onExcessProperty: "error" });

export const titles = ({ body }: Answer): string[] =>
  body.items.map((item: { spec: { title: string } }) => item.spec.title);

/** What was refused: status, and rule or type of the problem. */
export const problem = ({ status, body }: Answer) => [status, body.rule ?? body.type];
