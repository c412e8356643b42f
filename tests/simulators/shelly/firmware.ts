/** Updates: fetched over HTTP where they have an address, told of in events, ended by a reboot into the new version. */
import type { JsonObject } from "./face.ts";
import type { RpcDevice } from "./rpc-device.ts";

const MAGIC = "SIMULATED-FIRMWARE ";
const MOST_BYTES = 4 << 20;
const FETCH_MS = 10_000;

export interface Image {
  /** Gen2+: `app`; Gen1: `type`. */
  readonly app: string;
  readonly version: string;
  readonly buildId: string;
}

/** An image that simulated devices take: a line of JSON, then filling up to `bytes`. */
export function firmwareImage(image: Image, bytes = 20_000): Buffer {
  const head = Buffer.from(`${MAGIC}${JSON.stringify(image)}\n`);
  return Buffer.concat([head, Buffer.alloc(Math.max(0, bytes - head.length), 0x5a)]);
}

/** What is in an image. @throws Error that says what is wrong, in the words of the event. */
export function readImage(bytes: Buffer, app: string): Image {
  const line = bytes.subarray(0, 1_000).toString("latin1").split("\n")[0]!;
  if (!line.startsWith(MAGIC)) throw new Error("Invalid firmware image");
  const image = JSON.parse(line.slice(MAGIC.length)) as Image;
  if (image.app !== app) throw new Error(`Firmware is for ${image.app}, not ${app}`);
  return image;
}

/** Fetched whole, in at most ten seconds. @throws Error. */
export async function fetchImage(url: string, signal: AbortSignal): Promise<Buffer> {
  if (!/^http:\/\//.test(url)) throw new Error("Only http:// is fetched");
  const answer = await fetch(url, { signal: AbortSignal.any([signal, AbortSignal.timeout(FETCH_MS)]) });
  if (!answer.ok) throw new Error(`HTTP ${answer.status}`);
  const pieces: Buffer[] = [];
  let bytes = 0;
  for await (const piece of answer.body ?? []) {
    bytes += piece.length;
    if (bytes > MOST_BYTES) throw new Error("Image is too large");
    pieces.push(Buffer.from(piece));
  }
  const length = answer.headers.get("content-length");
  if (length !== null && Number(length) !== bytes) throw new Error("Image was cut off");
  return Buffer.concat(pieces);
}

const busy = new WeakSet<object>();

/** Begins an update. @returns why not. */
export function update(device: RpcDevice, from: { stage: "stable" | "beta" } | { url: string }): string | undefined {
  if (busy.has(device)) return "Update is in progress!";
  const release = "stage" in from ? device.spec.updates?.[from.stage] : undefined;
  if ("stage" in from && (release === undefined || release.version === device.version)) return "No update available!";
  busy.add(device);
  const url = "url" in from ? from.url : release?.url;
  void run(device, url, release).finally(() => busy.delete(device));
  return undefined;
}

async function run(
  device: RpcDevice,
  url: string | undefined,
  release: { version: string; buildId: string } | undefined,
) {
  const abort = new AbortController();
  const connection = { destroy: () => abort.abort(new Error("Connection lost")) };
  device.attach(connection);
  const tell = (event: string, msg: string, more: JsonObject = {}) => device.event("sys", event, { msg, ...more });
  const step = () => new Promise<void>((resolve) => device.world.clock.after(device.world.timing.otaStepMs, resolve));
  try {
    await step();
    tell("ota_begin", "Update started");
    const image = url === undefined ? undefined : readImage(await fetchImage(url, abort.signal), device.type.app);
    for (const progress_percent of [25, 50, 75, 99]) {
      await step();
      if (!device.online) throw new Error("Connection lost");
      tell("ota_progress", "Updating", { progress_percent });
    }
    const next = image ?? release;
    if (next === undefined) throw new Error("Nothing to install");
    tell("ota_success", "Update applied, rebooting");
    device.restart(device.world.timing.rebootMs, () => {
      device.version = next.version;
      device.build = next.buildId;
    });
  } catch (error) {
    tell("ota_error", error instanceof Error ? error.message : String(error));
  } finally {
    device.detach(connection);
  }
}
