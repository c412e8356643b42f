/** Reading a stream of JSON values, one to a line, as Docker's builds, pulls and events come. */
import { StringDecoder } from "node:string_decoder";

/** A single line longer than this is no message of Docker's. */
const longest = 4 << 20;

/**
 * Each value as soon as its line is whole. Characters cut in two by the transport are put together; empty lines are
 * skipped; the last line needs no newline.
 * @throws SyntaxError at what is no JSON, and whatever the stream throws.
 */
export async function* jsonLines(stream: AsyncIterable<Uint8Array | string>): AsyncGenerator<unknown> {
  const decoder = new StringDecoder("utf8");
  let rest = "";
  for await (const chunk of stream) {
    rest += typeof chunk === "string" ? chunk : decoder.write(Buffer.from(chunk));
    const lines = rest.split("\n");
    rest = lines.pop()!;
    if (rest.length > longest) throw new SyntaxError(`a line of more than ${longest} characters`);
    for (const line of lines) if (line.trim() !== "") yield JSON.parse(line);
  }
  rest += decoder.end();
  if (rest.trim() !== "") yield JSON.parse(rest);
}
