/** What goes wrong with a container engine, as one tagged error whose fields go into a phase's failure as they stand. */
import * as Data from "effect/Data";

/** `transient`: the same may succeed later (the engine was away, the stream was cut) · `permanent`: not without a change. */
export type DockerFailureClass = "transient" | "permanent" | "timeout" | "cancelled";

export type DockerFailureCode =
  /** No engine at the endpoint: nothing listens there. */
  | "DOCKER_MISSING"
  /** It was there, and is away, restarting, or too slow to answer. */
  | "DOCKER_UNREACHABLE"
  /** The engine says no for a reason of its own; the message is the engine's. */
  | "DOCKER_REFUSED"
  | "DISK_FULL"
  | "CANCELLED"
  /** The Dockerfile is not there, or cannot be read (HTTP 400). */
  | "BUILD_DOCKERFILE"
  /** A step ended with an error (in-band). */
  | "BUILD_STEP_FAILED"
  /** The image that the Dockerfile begins with cannot be had. */
  | "BUILD_BASE_IMAGE"
  /** The stream ended without an image and without an error. */
  | "BUILD_CUT_SHORT"
  | "BUILD_TIMEOUT"
  /** The folder is larger than allowed, leads out, or holds what no archive can carry. */
  | "BUILD_CONTEXT"
  | "IMAGE_MISSING"
  | "CONTAINER_MISSING"
  /** It exited while it was waited for. */
  | "CONTAINER_EXITED"
  /** Something bears our name without our label: it is left alone. */
  | "NAME_TAKEN"
  /** No subnet is free in the range. */
  | "NO_SUBNET"
  /** No host port is free in the range. */
  | "NO_PORT"
  /** It did not answer, or answered otherwise than expected, until the deadline. */
  | "NOT_READY";

export class DockerFailed extends Data.TaggedError("DockerFailed")<{
  readonly class: DockerFailureClass;
  readonly code: DockerFailureCode;
  /** One or two sentences. */
  readonly reason: string;
  /** What the reader can do next. */
  readonly fix: string;
  readonly cause?: unknown;
}> {
  override get message(): string {
    return this.reason;
  }
}

/** The failure for an aborted signal; else the given one. */
export function cancelledOr(signal: AbortSignal, failure: DockerFailed | undefined): DockerFailed {
  if (!signal.aborted && failure) return failure;
  return new DockerFailed({
    class: "cancelled",
    code: "CANCELLED",
    reason: "It was cancelled.",
    fix: "Nothing is left over; deploy again when you want to.",
    cause: signal.reason,
  });
}
