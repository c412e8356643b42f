/** What is answered to a request for content: all of it, a range (RFC 9110, 14), or that nothing has changed (13). */
import type { IncomingHttpHeaders } from "node:http";

export interface Content {
  readonly bytes: number;
  /** Strong, in its quotes. */
  readonly tag: string;
}

export interface ContentAnswer {
  readonly status: 200 | 206 | 304 | 416;
  readonly headers: Record<string, string>;
  /** What is sent, both inclusive; undefined: nothing. */
  readonly range: { readonly first: number; readonly last: number } | undefined;
}

/** Several ranges at once, and units other than bytes, are answered with the whole, as is allowed. */
export function answerContent(asked: IncomingHttpHeaders, { bytes, tag }: Content): ContentAnswer {
  const common = { etag: tag, "accept-ranges": "bytes" };
  const known = asked["if-none-match"];
  if (known !== undefined && (known.trim() === "*" || tagsOf(known).includes(tag))) {
    return { status: 304, headers: common, range: undefined };
  }
  const whole: ContentAnswer = {
    status: 200,
    headers: { ...common, "content-length": `${bytes}` },
    range: bytes === 0 ? undefined : { first: 0, last: bytes - 1 },
  };
  const condition = asked["if-range"];
  if (asked.range === undefined || (condition !== undefined && condition !== tag)) return whole;
  const range = rangeOf(asked.range, bytes);
  if (range === undefined) return whole;
  if (range === "none") {
    return {
      status: 416,
      headers: { ...common, "content-range": `bytes */${bytes}`, "content-length": "0" },
      range: undefined,
    };
  }
  const { first, last } = range;
  return {
    status: 206,
    headers: { ...common, "content-range": `bytes ${first}-${last}/${bytes}`, "content-length": `${last - first + 1}` },
    range,
  };
}

const tagsOf = (header: string): string[] => header.split(",").map((tag) => tag.trim().replace(/^W\//, ""));

/** @returns undefined for what is not understood, `none` for what lies behind the end */
function rangeOf(
  header: string,
  bytes: number,
): { readonly first: number; readonly last: number } | "none" | undefined {
  const [, from, to] = /^bytes=(\d{0,15})-(\d{0,15})$/.exec(header.trim()) ?? [];
  if (from === undefined || to === undefined || (from === "" && to === "")) return undefined;
  if (from === "") {
    const length = Math.min(Number(to), bytes);
    return length === 0 ? "none" : { first: bytes - length, last: bytes - 1 };
  }
  const first = Number(from);
  const last = to === "" ? bytes - 1 : Math.min(Number(to), bytes - 1);
  if (to !== "" && Number(to) < first) return undefined;
  return first >= bytes ? "none" : { first, last };
}
