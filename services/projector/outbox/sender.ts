/** What came of sending something, and what sends. */
import type { FeedEvent } from "@millrace/eventlog/cloudevents.ts";
import type { Answered } from "./transport.ts";

export interface Outcome {
  readonly ok: boolean;
  readonly status?: number;
  readonly answer?: string;
  /** Why it failed; "" when it did not. */
  readonly reason: string;
  /** The receiver as a whole is to be left alone; for so many milliseconds where it said so. */
  readonly throttle?: { readonly forMs?: number };
  /** The receiver is gone for good. */
  readonly gone?: boolean;
}

export interface Sender {
  /** Never rejects but when secrets cannot be opened. */
  send(event: FeedEvent, message: string): Promise<Outcome>;
  test(test: number): Promise<Outcome>;
  readonly testType: string;
}

const THROTTLES = new Set([429, 502, 504]);

/** By Standard Webhooks: 2xx alone is success, 410 is gone, 429, 502 and 504 throttle, and so does who says `Retry-After`. */
export function outcomeOf(answered: Answered): Outcome {
  if ("failed" in answered) return { ok: false, reason: answered.failed };
  const { status, answer, retryAfterMs } = answered;
  if (status >= 200 && status < 300) return { ok: true, status, answer, reason: "" };
  const isRedirect = status >= 300 && status < 400;
  const throttle = retryAfterMs !== undefined || THROTTLES.has(status);
  return {
    ok: false,
    status,
    answer,
    reason: isRedirect ? `it answered ${status}; redirects are not followed` : `it answered ${status}`,
    ...(throttle ? { throttle: retryAfterMs === undefined ? {} : { forMs: retryAfterMs } } : {}),
    ...(status === 410 ? { gone: true } : {}),
  };
}
