/** Docker's multiplexed streams: each part has a header of 8 bytes (1 or 2 for the stream, three zeros, its length). */

/** @throws Error when the bytes are no such stream, or end inside a part. */
export async function* frames(
  stream: AsyncIterable<Uint8Array>,
): AsyncGenerator<{ readonly stream: "stdout" | "stderr"; readonly payload: Buffer }> {
  let buffered: Buffer[] = [];
  let length = 0;
  let wanted = 8;
  for await (const chunk of stream) {
    buffered.push(Buffer.from(chunk));
    length += chunk.length;
    if (length < wanted) continue; // joined once per part, not once per chunk
    let rest = Buffer.concat(buffered);
    while (true) {
      wanted = 8;
      if (rest.length < 8) break;
      const kind = rest[0];
      if (kind === undefined || kind > 2 || rest.readUIntBE(1, 3) !== 0) throw new Error("no frame of Docker's");
      wanted = 8 + rest.readUInt32BE(4);
      if (rest.length < wanted) break;
      yield { stream: kind === 2 ? "stderr" : "stdout", payload: rest.subarray(8, wanted) };
      rest = rest.subarray(wanted);
    }
    buffered = [rest];
    length = rest.length;
  }
  if (length > 0) throw new Error("the stream ended inside a frame");
}
