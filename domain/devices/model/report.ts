/**
 * What passes between the protocol and the model: a device's raw report, and the writes that change it.
 * The protocol reads and writes; the model alone says what they mean. All of it is plain JSON.
 */

export type Json = null | boolean | number | string | JsonArray | JsonObject;
export type JsonArray = ReadonlyArray<Json>;
export interface JsonObject {
  readonly [name: string]: Json;
}

/** Gen1, as its HTTP endpoints answer. */
export interface Gen1Report {
  readonly generation: 1;
  /** `/shelly`; open, so it is there when nothing else could be read. */
  readonly shelly: Json;
  /** `/settings` */
  readonly settings: Json;
  /** `/status` */
  readonly status: Json;
  /** `/settings/actions`: `{actions: {<event>: [{index, enabled, urls}]}}`. Left out: not read, and then not compared. */
  readonly actions?: Json;
}

/** Gen2, Gen3 and Gen4, as their RPC answers. What is optional and left out was not read, and is then not compared. */
export interface Gen2Report {
  readonly generation: 2 | 3 | 4;
  /** `Shelly.GetDeviceInfo`, the same as `/shelly`. */
  readonly shelly: Json;
  /** `Shelly.GetConfig` */
  readonly config: Json;
  /** `Shelly.GetStatus` */
  readonly status: Json;
  /** `components` of all pages of `Shelly.GetComponents`: `{key, config?, status?, attrs?}` each. */
  readonly components?: ReadonlyArray<Json>;
  /** `methods` of `Shelly.ListMethods`, spelt as the device spells them. */
  readonly methods?: ReadonlyArray<string>;
  /** `Schedule.List`: `{jobs: [{id, enable, timespec, calls}], rev}`. */
  readonly schedules?: Json;
  /** `Webhook.List`: `{hooks: [{id, cid, enable, event, name, urls, …}], rev}`. */
  readonly webhooks?: Json;
  /** All pages of `KVS.GetMany`: `{items: [{key, etag, value}]}`, or `{items: {<key>: {etag, value}}}` as older firmware answers. */
  readonly kvs?: Json;
  /** `Script.List` with the whole code of each (`Script.GetCode`) beside it: `{scripts: [{id, name, enable, running, code}]}`. */
  readonly scripts?: Json;
}

export type Report = Gen1Report | Gen2Report;

/** A value of a query; a list is sent as the same key again and again (`urls[]=a&urls[]=b`). */
export type QueryValue = string | ReadonlyArray<string>;

/** One call to a device. Gen2+: RPC. Gen1: HTTP GET of a path with a query. */
export type Call =
  | { readonly method: string; readonly params: JsonObject }
  | { readonly path: string; readonly query: Readonly<Record<string, QueryValue>> };

/** One step of a change, carried out in order. */
export interface Write {
  /** Component or collection that it changes: `switch:0`, `wifi`, `schedules` … */
  readonly component: string;
  /** Where a secret belongs, stands a `SecretReference`; who carries it out puts the value there, in memory only. */
  readonly call: Call;
  /** `maybe`: the answer's `restart_required` says it. `always`: the device does it by itself, or nothing takes effect before. */
  readonly needsReboot: "never" | "maybe" | "always";
  /** The device may not answer afterwards, or not where and how it did: confirm by finding it again, else roll back. */
  readonly cutsOff: boolean;
}

/** A secret by its reference, in a configuration, a write or an export; never the secret itself. */
export interface SecretReference {
  readonly $secret: string;
}
