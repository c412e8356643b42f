/** A Gen1 device over HTTP: everything is a GET with a query, or a POST of a form. */
import type { IncomingMessage, ServerResponse } from "node:http";
import { basicLogin, isObject } from "./auth.ts";
import type { Json, JsonObject } from "./face.ts";
import { answerBy, textOf } from "./faults.ts";
import { fetchImage, readImage } from "./firmware.ts";
import { at, type Gen1Device } from "./gen1-device.ts";
import { readFlag, setSetting, settingAt } from "./gen1-settings.ts";
import { httpWay } from "./rpc-http.ts";

/** More waiting than this are reset. The vendor names no number; a small one is the harder to get along with. */
const QUEUE = 4;
/** An ESP8266 takes its time; so that requests at once are at once. Of the machine's clock. */
const WORK_MS = 2;

interface Answer {
  readonly status: number;
  readonly text: string;
}
const ok = (value: Json): Answer => ({ status: 200, text: textOf(value) });
const bad = (text: string): Answer => ({ status: 400, text });
const missing: Answer = { status: 404, text: "Not found" };

const queues = new WeakMap<Gen1Device, Array<() => void>>();

/** One at a time, in the order in which they came. */
export function answerGen1(device: Gen1Device, request: IncomingMessage, response: ServerResponse, body: string): void {
  const [before = "/", after = ""] = (request.url ?? "/").split(/\?(.*)/s);
  const path = before.replace(/\/+$/, "") || "/";
  const form = /urlencoded/.test(request.headers["content-type"] ?? "") ? new URLSearchParams(body) : [];
  const query = new URLSearchParams([...new URLSearchParams(after), ...form]);
  const end = device.begin(path);
  const queue = queues.get(device) ?? [];
  queues.set(device, queue);
  const work = () => setTimeout(() => handle(device, request, response, path, query), WORK_MS);
  response.on("close", () => {
    end();
    const index = queue.indexOf(work);
    queue.splice(index, 1);
    if (index === 0) queue[0]?.();
  });
  if (queue.length > QUEUE) {
    queue.push(work);
    request.socket.resetAndDestroy();
    return;
  }
  queue.push(work);
  if (queue.length === 1) work();
}

function handle(
  device: Gen1Device,
  request: IncomingMessage,
  response: ServerResponse,
  path: string,
  query: URLSearchParams,
): void {
  if (response.destroyed) return;
  response.shouldKeepAlive = false;
  let challenge = false;
  const way = httpWay(response, () => (challenge ? { "www-authenticate": 'Basic realm="Shelly"' } : {}));
  answerBy(device, path, way, () => {
    if (path !== "/shelly" && !lets(device, request.headers.authorization)) {
      challenge = true;
      return { status: 401, text: "401 Unauthorized" };
    }
    return route(device, path, query);
  });
}

function lets(device: Gen1Device, authorization: string | undefined): boolean {
  if (device.password === null) return true;
  const login = basicLogin(authorization);
  if (login?.user === device.user && login.password === device.password) {
    device.stats.logins++;
    return true;
  }
  if (login === undefined) device.stats.challenges++;
  else device.stats.failedLogins++;
  return false;
}

function route(device: Gen1Device, path: string, query: URLSearchParams): Answer {
  const [, first = "", second = "", third] = path.split("/");
  switch (first) {
    case "shelly":
      return ok(device.shelly());
    case "status":
      return ok(device.status());
    case "settings":
      return settings(device, path, second, query);
    case "relay":
      return relay(device, Number(second), query);
    case "roller":
      return roller(device, Number(second), query);
    case "light":
    case "color":
    case "white":
      return light(device, Number(second), query);
    case "meter":
    case "emeter":
      return third === "em_data.csv" ? csv(device, second) : part(device, `${first}s.${second}`);
    case "thermostats":
      return thermostat(device, Number(second), query);
    case "ota":
      return ota(device, second, query);
    case "reboot":
      device.restart(device.world.timing.rebootMs);
      return ok({ ok: true });
    case "wifiscan":
      return ok({
        wifiscan: "done",
        results: [{ ssid: device.network ?? "", auth: 3, channel: 4, bssid: "020000000001", rssi: -51 }],
      });
    case "cit":
      return second === "d" ? ok(device.describe()) : second === "s" ? ok(device.burst().payload) : missing;
    case "reset_data":
      return ok({ ok: true });
    default:
      return missing;
  }
}

const part = (device: Gen1Device, path: string): Answer => {
  const found = at(device.status(), path);
  return found === undefined ? missing : ok(found);
};

function csv(device: Gen1Device, index: string): Answer {
  const meter = at(device.status(), `emeters.${index}`);
  if (!isObject(meter)) return missing;
  const head = "Date/time UTC,Active energy Wh,Returned energy Wh,Min V,Max V";
  const stamp = new Date(device.now()).toISOString().slice(0, 16).replace("T", " ");
  return { status: 200, text: `${head}\n${stamp},0.25,0.00,${meter.voltage},${meter.voltage}\n` };
}

function settings(device: Gen1Device, path: string, what: string, query: URLSearchParams): Answer {
  if (what === "login") return login(device, query);
  if (what === "actions") return actions(device, query);
  if (what === "" && (readFlag(query.get("reset")) ?? false)) {
    device.wipe();
    return ok({ ok: true });
  }
  if (settingAt(device, path) === undefined) return missing;
  if (query.size > 0) {
    const wrong = setSetting(device, path, query);
    if (wrong !== undefined) return bad(wrong);
  }
  if (what === "") return ok(device.config());
  // With the state that the settings show.
  const [, , , index] = path.split("/");
  const list = { relay: "relays", light: "lights", color: "lights", white: "lights" }[what];
  return ok(list === undefined ? settingAt(device, path)! : device.config(`${list}.${index}`));
}

function login(device: Gen1Device, query: URLSearchParams): Answer {
  const [enabled, username, password] = [readFlag(query.get("enabled")), query.get("username"), query.get("password")];
  if (query.has("enabled") && enabled === undefined) return bad("Bad enabled!");
  if (enabled === true && password === null && device.password === null) return bad("Missing password!");
  const before = `${device.user}:${device.password}`;
  if (username !== null) device.user = username;
  if (enabled === false) device.password = null;
  else if (password !== null && (enabled === true || device.password !== null)) device.password = password;
  if (before !== `${device.user}:${device.password}`) device.configured();
  return ok(device.config("login"));
}

/** `urls[]=…`, or `urls[0][url]=…&urls[0][int]=0000-0000`. */
function urlsOf(query: URLSearchParams): Json[] | undefined {
  const plain = query.getAll("urls[]");
  if (plain.length > 0) return plain.filter((url) => url !== "");
  const found: JsonObject[] = [];
  for (const [key, value] of query) {
    const parts = /^urls\[(\d+)\]\[(url|int)\]$/.exec(key);
    if (parts === null) continue;
    const index = Number(parts[1]);
    if (index < 5) found[index] = { ...found[index], [parts[2]!]: value };
  }
  return found.length > 0 ? found.filter((one) => one !== undefined) : undefined;
}

function actions(device: Gen1Device, query: URLSearchParams): Answer {
  const [name, index] = [query.get("name"), Number(query.get("index") ?? "0")];
  if (name !== null) {
    const action = device.actions().find((one) => one.name === name && one.index === index);
    if (action === undefined) return bad("Bad name or index!");
    const [enabled, urls] = [readFlag(query.get("enabled")), urlsOf(query)];
    if ((urls?.length ?? 0) > 5) return bad("Too many urls!");
    const before = JSON.stringify(action);
    action.enabled = enabled ?? action.enabled;
    action.urls = urls ?? action.urls;
    if (before !== JSON.stringify(action)) device.configured();
  }
  return ok(device.stored());
}

/** `turn`, wherever something can be turned. */
function turned(now: JsonObject, query: URLSearchParams): boolean | undefined | string {
  const turn = query.get("turn");
  if (turn === null) return undefined;
  if (turn === "toggle") return now.ison !== true;
  return turn === "on" ? true : turn === "off" ? false : "Bad turn!";
}

function setOutput(device: Gen1Device, path: string, values: JsonObject, timer: string | null): void {
  const seconds = timer === null ? 0 : Number(timer);
  const timed = { has_timer: seconds > 0, timer_duration: seconds, timer_remaining: seconds };
  device.put(path, { ...values, source: "http", ...("ison" in values ? timed : {}) });
  if (seconds <= 0 || values.ison === undefined) return;
  const back = { ison: values.ison !== true, source: "timer", has_timer: false, timer_duration: 0, timer_remaining: 0 };
  // In another mode there is no such output any more.
  device.world.clock.after(seconds * 1000, () => at(device.state, path) !== undefined && device.put(path, back));
}

function relay(device: Gen1Device, index: number, query: URLSearchParams): Answer {
  const path = `relays.${index}`;
  const now = at(device.state, path);
  if (!isObject(now)) return missing;
  const ison = turned(now, query);
  if (typeof ison === "string") return bad(ison);
  const timer = query.get("timer");
  if (timer !== null && !/^\d+(\.\d+)?$/.test(timer)) return bad("Bad timer!");
  if (ison !== undefined) setOutput(device, path, { ison }, timer);
  return part(device, path);
}

function roller(device: Gen1Device, index: number, query: URLSearchParams): Answer {
  const path = `rollers.${index}`;
  const now = at(device.state, path);
  if (!isObject(now)) return missing;
  const go = query.get("go");
  if (go === null) return part(device, path);
  if (!["open", "close", "stop", "to_pos"].includes(go)) return bad("Bad go!");
  const asked = Number(query.get("roller_pos"));
  if (go === "to_pos" && !(query.has("roller_pos") && asked >= 0 && asked <= 100)) return bad("Bad roller_pos!");
  const from = Number(now.current_pos);
  const to = go === "open" ? 100 : go === "close" ? 0 : go === "stop" ? from : asked;
  if (to === from) device.put(path, { state: "stop", source: "http" });
  else {
    const direction = to > from ? "open" : "close";
    device.put(path, { state: direction, source: "http", last_direction: direction, power: 90 });
    device.world.clock.after((Math.abs(to - from) / 100) * device.world.timing.coverMs, () => {
      if (now.state === direction && at(device.state, path) === now)
        device.put(path, { state: "stop", current_pos: to, power: 0, stop_reason: "normal" });
    });
  }
  return part(device, path);
}

const LIGHT: Readonly<Record<string, number>> = {
  red: 255,
  green: 255,
  blue: 255,
  white: 255,
  gain: 100,
  brightness: 100,
  effect: 6,
  temp: 6500,
  transition: 5000,
};

function light(device: Gen1Device, index: number, query: URLSearchParams): Answer {
  const path = `lights.${index}`;
  const now = at(device.state, path);
  if (!isObject(now)) return missing;
  const ison = turned(now, query);
  if (typeof ison === "string") return bad(ison);
  const values: JsonObject = ison === undefined ? {} : { ison };
  for (const [key, most] of Object.entries(LIGHT)) {
    const text = query.get(key);
    if (text === null || !(key in now)) continue;
    const value = Number(text);
    if (!(value >= 0 && value <= most)) return bad(`Bad ${key}!`);
    values[key] = value;
  }
  if (Object.keys(values).length > 0) setOutput(device, path, values, query.get("timer"));
  return part(device, path);
}

function thermostat(device: Gen1Device, index: number, query: URLSearchParams): Answer {
  const path = `thermostats.${index}`;
  const now = at(device.state, path);
  if (!isObject(now)) return missing;
  const [target, position] = [query.get("target_t"), query.get("pos")];
  if (target !== null) {
    if (!(Number(target) >= 4 && Number(target) <= 31)) return bad("Bad target_t!");
    device.put(`${path}.target_t`, { value: Number(target), enabled: true });
    const set = at(device.settings, `${path}.target_t`);
    if (isObject(set)) set.value = Number(target);
  }
  if (position !== null) {
    if (!(Number(position) >= 0 && Number(position) <= 100)) return bad("Bad pos!");
    device.put(path, { pos: Number(position) });
  }
  return part(device, path);
}

function ota(device: Gen1Device, what: string, query: URLSearchParams): Answer {
  if (what === "check") return ok({ status: "ok" });
  const url = query.get("url");
  const { stable, beta } = device.spec.updates ?? {};
  const release =
    (readFlag(query.get("update")) ?? false) ? stable : (readFlag(query.get("beta")) ?? false) ? beta : undefined;
  if ((url !== null || release !== undefined) && !device.updating) {
    device.updating = true;
    void install(device, url ?? release?.url, release?.version).catch(() => {
      // Gen1 says nothing of what went wrong: it is idle again, with its old firmware.
      device.updating = false;
    });
  }
  return ok(device.update());
}

async function install(device: Gen1Device, url: string | undefined, version: string | undefined): Promise<void> {
  const abort = new AbortController();
  const connection = { destroy: () => abort.abort(new Error("connection lost")) };
  // Its answer leaves first, and cuts nothing.
  await new Promise<void>((resolve) => device.world.clock.after(device.world.timing.otaStepMs, resolve));
  device.attach(connection);
  let next = version ?? device.fw;
  try {
    if (url !== undefined) next = readImage(await fetchImage(url, abort.signal), device.model).version ?? next;
  } finally {
    device.detach(connection);
  }
  // It runs from the boot on.
  device.restart(device.world.timing.rebootMs, () => {
    device.fw = next;
  });
}
