/** Refusals in words, for events that tell of them. */
import type { Refusal } from "@millrace/domain/decider.ts";

const SAID_MOST = 1_000;

export function wordsOf(refusal: Refusal): { readonly rule?: string; readonly reason: string; readonly fix?: string } {
  switch (refusal.refused) {
    case "rule":
      return { rule: refusal.rule, reason: refusal.reason.slice(0, SAID_MOST), fix: refusal.fix.slice(0, SAID_MOST) };
    case "conflict":
      return { reason: refusal.reason, fix: refusal.fix };
    case "not-found":
      return { rule: "not-found", reason: refusal.reason };
    case "precondition":
      return { reason: `It is at generation ${refusal.actual}, not ${refusal.expected}.` };
    case "invalid": {
      const reason = refusal.errors.map(({ pointer, detail }) => `${pointer} ${detail}`).join("; ");
      return {
        rule: "invalid",
        reason: reason.slice(0, SAID_MOST),
        ...(refusal.fix === undefined ? {} : { fix: refusal.fix }),
      };
    }
  }
}
