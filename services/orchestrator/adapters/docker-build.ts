/** Building an image from a folder, by the engine's own builder, and pulling the images that it begins with. */
import type { Readable } from "node:stream";
import type Dockerode from "dockerode";
import { packContext, readDockerfile } from "./build-context.ts";
import type { BaseImage, BuildRequest, Image, OnLine } from "./docker.ts";
import type { Connection } from "./docker-engine.ts";
import { cancelledOr, DockerFailed, refusedBy, saidBy, statusOf } from "./docker-failures.ts";
import { findImage } from "./docker-images.ts";
import { imageLabel, label } from "./docker-labels.ts";
import { baseNames } from "./dockerfile.ts";
import { jsonLines } from "./json-lines.ts";

/** What Docker writes: a line of output, progress, the image's id, or an error, all with HTTP status 200. */
interface Message {
  readonly stream?: string;
  readonly status?: string;
  readonly id?: string;
  readonly progressDetail?: object;
  readonly aux?: { readonly ID?: string };
  readonly error?: string;
  readonly errorDetail?: { readonly code?: number; readonly message?: string };
}

const longestLine = 64 << 10;

export async function build(connection: Connection, request: BuildRequest): Promise<Image> {
  readDockerfile(request.folder, request.dockerfile);
  const context = packContext(request.folder, request.dockerfile, request.limits.contextBytes);
  return withLimit(request, "BUILD_TIMEOUT", async (signal) => {
    const onLine = bounded(request.onLine, request.limits.outputBytes ?? 16 << 20);
    const id = await follow(connection, context, request, signal, onLine);
    // The tag is applied last, and the stream may have been cut before or after that: the engine has the last word.
    const built = await findImage(connection, request.tag, request.inputHash);
    if (built && (id === undefined || built.id === id)) return built;
    throw cutShort(undefined);
  });
}

async function follow(
  connection: Connection,
  context: Readable,
  request: BuildRequest,
  signal: AbortSignal,
  onLine: OnLine,
): Promise<string | undefined> {
  let id: string | undefined;
  let failed: Message | undefined;
  const output = new Output(onLine);
  try {
    const stream = await connection.streams.buildImage(context, buildOptions(connection, request, signal));
    for await (const value of jsonLines(stream as Readable)) {
      const message = value as Message;
      if (message.error !== undefined) failed = message;
      if (message.aux?.ID) id = message.aux.ID;
      if (message.stream !== undefined) output.take(message.stream);
      else if (message.status !== undefined && !message.progressDetail) onLine(message.status);
    }
  } catch (error) {
    context.destroy();
    if (error instanceof DockerFailed) throw error;
    if (statusOf(error) === 400 || /cannot locate specified dockerfile/i.test(saidBy(error)))
      throw dockerfileFailed(saidBy(error), error);
    if (statusOf(error) === undefined && id === undefined && failed === undefined && isCut(error))
      throw cutShort(error);
    if (statusOf(error) !== undefined) throw refusedBy(error, `build ${request.tag}`);
    // Cut after the image was there: whether it is tagged, the engine knows.
  } finally {
    output.end();
  }
  if (failed) throw stepFailed(failed);
  return id;
}

function isCut(error: unknown): boolean {
  const { code, message } = error as { code?: string; message?: string };
  if (code === "ENOENT" || code === "ECONNREFUSED" || code === "EACCES") throw refusedBy(error, "build");
  return code !== undefined || error instanceof SyntaxError || /aborted|hang up|premature/i.test(message ?? "");
}

function buildOptions(connection: Connection, request: BuildRequest, signal: AbortSignal): Dockerode.ImageBuildOptions {
  const { limits } = request;
  return {
    t: request.tag,
    dockerfile: request.dockerfile,
    labels: { [label.image]: imageLabel(connection, request.application, request.inputHash) },
    buildargs: request.args ?? {},
    rm: true,
    forcerm: true,
    pull: false,
    ...(request.network === false ? { networkmode: "none" } : {}),
    ...(limits.memoryBytes ? { memory: limits.memoryBytes, memswap: limits.memoryBytes } : {}),
    ...(limits.cpus ? { cpuperiod: 100_000, cpuquota: Math.round(limits.cpus * 100_000) } : {}),
    abortSignal: signal,
  } as unknown as Dockerode.ImageBuildOptions;
}

export async function baseImages(
  connection: Connection,
  request: {
    readonly folder: string;
    readonly dockerfile: string;
    readonly args?: Readonly<Record<string, string>>;
    readonly timeoutMs: number;
    readonly signal: AbortSignal;
    readonly onLine: OnLine;
  },
): Promise<BaseImage[]> {
  const names = baseNames(readDockerfile(request.folder, request.dockerfile), request.args ?? {});
  const limits = { timeoutMs: request.timeoutMs };
  return withLimit({ limits, signal: request.signal }, "BUILD_TIMEOUT", async (signal) => {
    const found: BaseImage[] = [];
    for (const name of names) {
      const id = (await idOf(connection, name)) ?? (await pull(connection, name, signal, request.onLine));
      found.push({ name, id });
    }
    return found;
  });
}

async function idOf(connection: Connection, name: string): Promise<string | undefined> {
  return connection.call(`inspect image ${name}`, async (docker) => {
    try {
      return (await docker.getImage(name).inspect()).Id;
    } catch (error) {
      if (statusOf(error) === 404) return undefined;
      if (statusOf(error) === 400) throw dockerfileFailed(saidBy(error), error);
      throw error;
    }
  });
}

async function pull(connection: Connection, name: string, signal: AbortSignal, onLine: OnLine): Promise<string> {
  onLine(`Pulling ${name}`);
  const whole = /[:@][^/]*$/.test(name) ? name : `${name}:latest`; // without a tag, the engine would pull all of them
  try {
    const stream = await connection.streams.createImage({ fromImage: whole, abortSignal: signal });
    for await (const value of jsonLines(stream as Readable)) {
      const { error, status, progressDetail } = value as Message;
      if (error !== undefined) throw new Error(error);
      if (status !== undefined && !progressDetail) onLine(status);
    }
  } catch (error) {
    const { code } = error as { code?: string };
    if (code !== undefined && statusOf(error) === undefined) throw refusedBy(error, `pull ${name}`);
    throw baseMissing(name, saidBy(error), error);
  }
  const id = await idOf(connection, name);
  if (!id) throw baseMissing(name, "it is not there after pulling", undefined);
  return id;
}

/** Runs with a signal that aborts at the limit or when cancelled, and names which of them it was. */
async function withLimit<A>(
  of: { readonly limits: { readonly timeoutMs: number }; readonly signal: AbortSignal },
  code: "BUILD_TIMEOUT",
  act: (signal: AbortSignal) => Promise<A>,
): Promise<A> {
  // Not AbortSignal.any with AbortSignal.timeout: such a timer does not keep the process, and is never cleared.
  const limit = new AbortController();
  const timer = setTimeout(() => limit.abort(), of.limits.timeoutMs);
  const passOn = () => limit.abort();
  of.signal.addEventListener("abort", passOn, { once: true });
  try {
    if (of.signal.aborted) throw cancelledOr(of.signal, undefined);
    return await act(limit.signal);
  } catch (error) {
    if (of.signal.aborted) throw cancelledOr(of.signal, undefined);
    if (!limit.signal.aborted) throw refusedBy(error, "build");
    throw new DockerFailed({
      class: "timeout",
      code,
      reason: `The build took longer than ${Math.round(of.limits.timeoutMs / 1000)} s and was ended.`,
      fix: "See in its output what it waited for; raise the progress deadline of the policy if it needs the time.",
      cause: error,
    });
  } finally {
    clearTimeout(timer);
    of.signal.removeEventListener("abort", passOn);
  }
}

function bounded(onLine: OnLine, limitBytes: number): OnLine {
  let left = limitBytes;
  return (line) => {
    if (left <= 0) return;
    left -= Buffer.byteLength(line) + 1;
    onLine(left > 0 ? line : `… the rest of the output is left out: it is more than ${limitBytes} bytes`);
  };
}

/**
 * Puts lines together from messages, which hold part of a line, a line, or several. (A character that the engine itself
 * cut in two, at the end of what it had read of a step's output, arrives as two replacement characters.)
 */
class Output {
  private readonly onLine: OnLine;
  private rest = "";

  constructor(onLine: OnLine) {
    this.onLine = onLine;
  }

  take(message: string): void {
    // What a step writes to its standard error, the engine colours red.
    const red = message.startsWith("\x1b[91m") && message.endsWith("\x1b[0m");
    const text = red ? message.slice(5, -4) : message;
    // The engine's own words begin a line, also after a step that ended without a newline.
    if (this.rest !== "" && /^( ---> |Removing intermediate|Step \d)/.test(text)) this.end();
    const lines = (this.rest + text).split("\n");
    this.rest = lines.pop()!.slice(-longestLine);
    for (const line of lines) this.give(line);
  }

  end(): void {
    this.give(this.rest);
    this.rest = "";
  }

  private give(line: string): void {
    // A progress bar writes its line again and again after a carriage return: the last state is what a reader sees.
    const seen = line.replace(/\r+$/, "").split("\r").at(-1)!;
    if (seen !== "") this.onLine(seen.slice(0, longestLine));
  }
}

function stepFailed({ error = "", errorDetail }: Message): DockerFailed {
  const said = (errorDetail?.message ?? error).slice(0, 1_000);
  if (/no space left on device|disk quota exceeded/i.test(said)) return refusedBy(new Error(said), "build");
  if (/pull access denied|manifest.*(unknown|not found)|repository does not exist|invalid reference format/i.test(said))
    return baseMissing(undefined, said, undefined);
  if (/Get "?https?:|dial tcp|TLS handshake|no such host|i\/o timeout/i.test(said) && errorDetail?.code === undefined)
    return baseMissing(undefined, said, undefined);
  const memory =
    errorDetail?.code === 137 ? " It was killed, most often because it needed more memory than it may use." : "";
  return new DockerFailed({
    class: "permanent",
    code: "BUILD_STEP_FAILED",
    reason: `A step of the build failed: ${said}.${memory}`,
    fix: "Its output is in the deployment's log. Change the Dockerfile or the source, and deploy again.",
  });
}

function dockerfileFailed(said: string, cause: unknown): DockerFailed {
  return new DockerFailed({
    class: "permanent",
    code: "BUILD_DOCKERFILE",
    reason: `The Dockerfile cannot be used: ${said}`,
    fix: "Correct it, and deploy again.",
    cause,
  });
}

function baseMissing(name: string | undefined, said: string, cause: unknown): DockerFailed {
  const passing = /dial tcp|no such host|i\/o timeout|TLS handshake|connection re|temporary failure|deadline/i.test(
    said,
  );
  return new DockerFailed({
    class: passing ? "transient" : "permanent",
    code: "BUILD_BASE_IMAGE",
    reason: `The image that the build begins with${name ? ` (${name})` : ""} cannot be had: ${said.slice(0, 1_000)}`,
    fix: passing
      ? "The registry does not answer now. Check the node's network, or pull the image by hand."
      : "Check the name and tag in FROM; an image of a private registry has to be pulled on the node beforehand.",
    cause,
  });
}

function cutShort(cause: unknown): DockerFailed {
  return new DockerFailed({
    class: "transient",
    code: "BUILD_CUT_SHORT",
    reason: "The engine's answer to the build ended without an image and without an error.",
    fix: "The engine was restarted, or is short of memory; what was built so far is in its cache.",
    cause,
  });
}
