/** What may end a step of a worker early, as a closed set of values. */
import type { Refusal } from "@millrace/domain/decider.ts";
import * as Data from "effect/Data";

/** Somebody else is further: the decider refused by its rule `overtaken`. Let it pass; the worker drops its work. */
export class Overtaken extends Data.TaggedError("Overtaken")<{ readonly kind: string; readonly id: string }> {}

/** The decider refused for another reason: the reactor asked for what the rules do not allow. */
export class RecordRefused extends Data.TaggedError("RecordRefused")<{
  readonly kind: string;
  readonly id: string;
  readonly refusal: Refusal;
}> {
  override get message(): string {
    return `${this.kind} ${this.id}: ${JSON.stringify(this.refusal)}`;
  }
}

/** `lease-lost`: another may act already · `stopping`: the process ends · `interrupted`: a newer commit wants something else. */
export class WorkAborted extends Data.TaggedError("WorkAborted")<{
  readonly why: "lease-lost" | "stopping" | "interrupted";
}> {
  override get message(): string {
    return this.why;
  }
}
