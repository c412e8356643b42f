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
  /** The image has no such command or user, or the command may not be run. */
  | "CONTAINER_UNSTARTABLE"
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

interface Raised {
  readonly code?: string;
  readonly statusCode?: number;
  readonly message?: string;
  readonly name?: string;
}

/** The HTTP status of an answer that dockerode threw, or undefined when there was no answer. */
export function statusOf(error: unknown): number | undefined {
  return (error as Raised).statusCode;
}

/** What the engine said, without what dockerode puts around it. */
export function saidBy(error: unknown): string {
  const text = (error as Raised).message ?? String(error);
  return /^\(HTTP code \d+\) .*? - ([\s\S]*)$/.exec(text)?.[1]?.trim() ?? text;
}

const unstartable =
  /executable file not found|exec format error|unable to find user|no such file or directory|permission denied|is a directory/i;

/**
 * A failure for what dockerode threw and the caller did not expect.
 * @param doing such as "create container mill-…"
 */
export function refusedBy(error: unknown, doing: string): DockerFailed {
  if (error instanceof DockerFailed) return error;
  const status = statusOf(error);
  const said = saidBy(error).slice(0, 1_000);
  if (/no space left on device|disk quota exceeded/i.test(said)) {
    return new DockerFailed({
      class: "permanent",
      code: "DISK_FULL",
      reason: `Docker could not ${doing}: its disk is full.`,
      fix: "Free space on the engine's disk (docker system df shows what takes it), then try again.",
      cause: error,
    });
  }
  if (status === undefined) {
    return new DockerFailed({
      class: "transient",
      code: "DOCKER_UNREACHABLE",
      reason: `Docker did not answer when asked to ${doing}: ${said}.`,
      fix: "Start the engine again (systemctl start docker); the work goes on by itself.",
      cause: error,
    });
  }
  if (/^start container/.test(doing) && unstartable.test(said)) {
    return new DockerFailed({
      class: "permanent",
      code: "CONTAINER_UNSTARTABLE",
      reason: `The container cannot be started: ${said}`,
      fix: "Check the image's command (CMD, ENTRYPOINT) and user.",
      cause: error,
    });
  }
  return new DockerFailed({
    class: status >= 500 ? "transient" : "permanent",
    code: "DOCKER_REFUSED",
    reason: `Docker could not ${doing}: ${said}`,
    fix: "The message is the engine's own; its log (journalctl -u docker) may say more.",
    cause: error,
  });
}
