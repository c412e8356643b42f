/** Everything that a Gen2+ device says of itself, call by call, pages and pieces put together. */
import type { Gen2Report } from "@millrace/domain/devices/model/report.ts";
import { DeviceFailure, failure } from "./failures.ts";
import { isObject, type Json, type JsonObject, numberAt, objectOf, textAt } from "./json.ts";

export type Ask = (method: string, params?: JsonObject) => Promise<Json>;

/** Pages of one list, scripts of one device, and characters of one script: bounds that no device known comes near. */
const PAGES = 50;
const SCRIPTS = 20;
const CODE = 64 * 1024;

/** @throws DeviceFailure what any call throws; what this firmware does not have is left out */
export async function readReport(ask: Ask, shelly: Json, generation: 2 | 3 | 4): Promise<Gen2Report> {
  const config = objectOf(await ask("Shelly.GetConfig"), "Its configuration");
  const status = objectOf(await ask("Shelly.GetStatus"), "Its status");
  const methods = await methodsOf(ask);
  const known = methods === undefined ? undefined : new Set(methods.map((name) => name.toLowerCase()));
  const read = async (method: string, how: () => Promise<Json>): Promise<Json | undefined> => {
    if (known !== undefined && !known.has(method.toLowerCase())) return undefined;
    try {
      return await how();
    } catch (error) {
      if (error instanceof DeviceFailure && error.kind === "not-found") return undefined;
      throw error;
    }
  };
  const components = await read("Shelly.GetComponents", async () => {
    return await pages(
      ask,
      "Shelly.GetComponents",
      { include: ["config", "status"], dynamic_only: true },
      "components",
    );
  });
  const schedules = await read("Schedule.List", () => ask("Schedule.List"));
  const webhooks = await read("Webhook.List", () => ask("Webhook.List"));
  const kvs = await read("KVS.GetMany", () => keysOf(ask));
  const scripts = await read("Script.List", () => scriptsOf(ask));
  return {
    generation,
    shelly,
    config,
    status,
    ...(components === undefined ? {} : { components: components as ReadonlyArray<Json> }),
    ...(methods === undefined ? {} : { methods }),
    ...(schedules === undefined ? {} : { schedules }),
    ...(webhooks === undefined ? {} : { webhooks }),
    ...(kvs === undefined ? {} : { kvs }),
    ...(scripts === undefined ? {} : { scripts }),
  };
}

async function methodsOf(ask: Ask): Promise<ReadonlyArray<string> | undefined> {
  try {
    const { methods } = objectOf(await ask("Shelly.ListMethods"), "Its list of methods");
    return Array.isArray(methods) ? methods.filter((name): name is string => typeof name === "string") : undefined;
  } catch (error) {
    if (error instanceof DeviceFailure && error.kind === "not-found") return undefined;
    throw error;
  }
}

/** All pages of a list that says its `total`. @throws DeviceFailure garbled, for one without an end */
async function pages(ask: Ask, method: string, params: JsonObject, field: string): Promise<ReadonlyArray<Json>> {
  const all: Json[] = [];
  for (let page = 0; page < PAGES; page++) {
    const answer = objectOf(await ask(method, { offset: all.length, ...params }), `${method}'s answer`);
    const part = answer[field];
    if (!Array.isArray(part)) throw failure("garbled", `${method} answers without ${field}.`);
    all.push(...part);
    if (part.length === 0 || all.length >= (numberAt(answer, "total") ?? all.length)) return all;
  }
  throw failure("garbled", `${method} comes to no end.`);
}

/** Older firmware answers an object at once, newer a list in pages. */
async function keysOf(ask: Ask): Promise<Json> {
  const first = objectOf(await ask("KVS.GetMany"), "KVS.GetMany's answer");
  if (!Array.isArray(first.items)) return { items: first.items ?? {} };
  if (first.items.length >= (numberAt(first, "total") ?? 0)) return { items: first.items };
  return { items: await pages(ask, "KVS.GetMany", {}, "items") };
}

async function scriptsOf(ask: Ask): Promise<Json> {
  const { scripts } = objectOf(await ask("Script.List"), "Script.List's answer");
  if (!Array.isArray(scripts)) throw failure("garbled", "Script.List answers without scripts.");
  const whole: Json[] = [];
  for (const script of scripts.slice(0, SCRIPTS).filter(isObject)) {
    const id = numberAt(script, "id");
    if (id !== undefined) whole.push({ ...script, code: await codeOf(ask, id) });
  }
  return { scripts: whole };
}

async function codeOf(ask: Ask, id: number): Promise<string> {
  let code = "";
  let bytes = 0;
  while (bytes < CODE) {
    const answer = objectOf(await ask("Script.GetCode", { id, offset: bytes }), "Script.GetCode's answer");
    const data = textAt(answer, "data") ?? "";
    code += data;
    // Offsets count bytes; pieces end between characters.
    bytes += Buffer.byteLength(data);
    if (data === "" || (numberAt(answer, "left") ?? 0) <= 0) return code;
  }
  throw failure("too-large", `Script ${id} is larger than ${CODE} bytes.`);
}
