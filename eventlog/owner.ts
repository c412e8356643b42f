/**
 * Who holds something, said so that another process on the same machine can see whether the holder still lives: a pid alone is used
 * again, means another process in another container, and says nothing after a reboot.
 */
import { readFileSync, readlinkSync } from "node:fs";
import { hostname } from "node:os";
import { nuid } from "@nats-io/transport-node";

export interface Owner {
  /** `host:pid:<unique>`, unique for ever. */
  readonly name: string;
  readonly host: string;
  readonly pid: number;
  /** Boot of the machine and namespace of pids: only within the same one does a pid mean anything. Empty: not known. */
  readonly place: string;
  /** When the process began, in ticks of that boot; empty: not known. */
  readonly began: string;
}

const read = (path: string): string => {
  try {
    return readFileSync(path, "utf8").trim();
  } catch {
    return "";
  }
};

/** Fields of /proc/<pid>/stat behind the name, which may itself hold spaces and brackets: state, ppid, …; the 20th is the start. */
const stat = (pid: number): ReadonlyArray<string> => {
  const text = read(`/proc/${pid}/stat`);
  return text === "" ? [] : text.slice(text.lastIndexOf(")") + 2).split(" ");
};

let place: string | undefined;

/** Found once: a process stays in its boot and its namespace. */
function placeOfThis(): string {
  if (place !== undefined) return place;
  const boot = read("/proc/sys/kernel/random/boot_id");
  try {
    place = boot === "" ? "" : `${boot} ${readlinkSync("/proc/self/ns/pid")}`;
  } catch {
    place = "";
  }
  return place;
}

/** This process. Each call is an owner of its own. */
export const thisOwner = (): Owner => ({
  name: `${hostname()}:${process.pid}:${nuid.next()}`,
  host: hostname(),
  pid: process.pid,
  place: placeOfThis(),
  began: stat(process.pid)[19] ?? "",
});

/**
 * Whether the owner's process has surely ended. False whenever it cannot be known: on another machine, in another container, on a
 * system without /proc.
 */
export function surelyDead(owner: Owner, here = placeOfThis()): boolean {
  if (here === "" || owner.place !== here) return false;
  try {
    process.kill(owner.pid, 0);
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === "ESRCH";
  }
  const { 0: state, 19: began } = stat(owner.pid);
  if (state === "Z" || state === "X") return true;
  return began !== undefined && owner.began !== "" && began !== owner.began;
}

/** The process of an owner: the same for all that one process holds. */
export const processOf = ({ place, pid, began }: Owner): string => `${place}:${pid}:${began}`;

/** As one line, for where a lease is a column of text. */
export const ownerText = ({ name, began, place }: Owner): string => `${name} ${began} ${place}`.trim();

/** @returns undefined for what is not such a line, or says too little to know whether its process lives */
export function parseOwner(text: string): Owner | undefined {
  const [name, began, ...place] = text.split(" ");
  const [host, pid] = (name ?? "").split(":");
  if (host === undefined || !/^\d+$/.test(pid ?? "") || began === undefined || place.length === 0) return undefined;
  return { name: name!, host, pid: Number(pid), began, place: place.join(" ") };
}
