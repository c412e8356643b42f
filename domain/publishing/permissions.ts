/**
 * What an application may do once it is installed: the arguments `finish-args` of a manifest in the words of `metadata`, so that a manifest
 * and a commit can be compared; and which of these are dangerous, and why.
 */

import { own } from "../own.ts";
import { BUSES } from "./metadata.ts";

export interface ParsedArguments {
  /** As `permissionsOf(metadata)` gives them, sorted. */
  readonly permissions: ReadonlyArray<string>;
  /** What is no argument of `flatpak build-finish`, or has a value that it would not take; by its place in the list. */
  readonly faults: ReadonlyArray<{ readonly at: number; readonly message: string }>;
}

const CONTEXT: Readonly<Record<string, readonly [key: string, prefix: string, values?: ReadonlyArray<string>]>> =
  (() => {
    const shares = ["network", "ipc"];
    const sockets = [
      ..."x11 wayland fallback-x11 pulseaudio system-bus session-bus ssh-auth pcsc cups gpg-agent inherit-wayland-socket".split(
        " ",
      ),
    ];
    const devices = ["dri", "kvm", "shm", "all", "input", "usb"];
    const features = ["devel", "multiarch", "bluetooth", "canbus", "per-app-dev-shm"];
    return {
      share: ["shared", "", shares],
      unshare: ["shared", "!", shares],
      socket: ["sockets", "", sockets],
      nosocket: ["sockets", "!", sockets],
      device: ["devices", "", devices],
      nodevice: ["devices", "!", devices],
      allow: ["features", "", features],
      disallow: ["features", "!", features],
      filesystem: ["filesystems", ""],
      nofilesystem: ["filesystems", "!"],
      persist: ["persistent", ""],
      "unset-env": ["unset-environment", ""],
      usb: ["enumerable-devices", ""],
      nousb: ["hidden-devices", ""],
    };
  })();

const [SESSION, SYSTEM, ACCESSIBILITY] = BUSES;
const NAMES: Readonly<Record<string, readonly [bus: string, policy: string]>> = {
  "own-name": [SESSION, "own"],
  "talk-name": [SESSION, "talk"],
  "no-talk-name": [SESSION, "none"],
  "system-own-name": [SYSTEM, "own"],
  "system-talk-name": [SYSTEM, "talk"],
  "system-no-talk-name": [SYSTEM, "none"],
  "a11y-own-name": [ACCESSIBILITY, "own"],
};

/** Known, and no permission. */
const OTHERS = [
  "metadata",
  "command",
  "require-version",
  "extra-data",
  "extension",
  "remove-extension",
  "extension-priority",
  "sdk",
  "runtime",
  "no-exports",
  "no-inherit-permissions",
  "add-policy",
  "remove-policy",
];
const FILESYSTEM = /^(host|host-os|host-etc|host-root|home|~|\/|xdg-[a-z-]+)([/:].*)?$|^[/~]/;
const BUS_NAME = /^[A-Za-z_][A-Za-z0-9_-]*(\.[A-Za-z0-9_-]+)*(\.\*)?$|^\*$/;

/** @param args as in a manifest; each one argument */
export function parseFinishArguments(args: ReadonlyArray<string>): ParsedArguments {
  const found = new Set<string>();
  const faults: { at: number; message: string }[] = [];
  for (const [at, argument] of args.entries()) {
    const said = parseOne(argument);
    if (typeof said === "string") faults.push({ at, message: said });
    else for (const permission of said) found.add(permission);
  }
  return { permissions: [...found].sort(), faults };
}

/** Permissions, or what is wrong with it. */
function parseOne(argument: string): ReadonlyArray<string> | string {
  const [, name, value] = /^--([a-z0-9-]+)(?:=(.*))?$/s.exec(argument) ?? [];
  const shown = argument.slice(0, 80);
  if (name === undefined) return `"${shown}" is no option`;
  if (/[\p{Cc}]/u.test(argument)) return "it holds control characters";
  const context = own(CONTEXT, name);
  if (context !== undefined) {
    const [key, prefix, values] = context;
    if (value === undefined || value === "") return `--${name} needs a value`;
    if (values !== undefined && !values.includes(value)) return `--${name} takes one of ${values.join(", ")}`;
    if (key === "filesystems" && !FILESYSTEM.test(value))
      return `"${value.slice(0, 80)}" is no place that can be given`;
    return [`${key}=${prefix}${value}`];
  }
  const bus = own(NAMES, name);
  if (bus !== undefined) {
    if (value === undefined || !BUS_NAME.test(value)) return `--${name} needs a name on the bus`;
    return [`${bus[0]}: ${value}=${bus[1]}`];
  }
  if (name === "env") {
    if (value === undefined || !/^[^=\s]+=/.test(value)) return "--env needs NAME=value";
    return [`environment ${value}`];
  }
  if (name === "metadata") return fromMetadata(value ?? "");
  return OTHERS.includes(name) ? [] : `--${name} is none that flatpak knows`;
}

/** `--metadata=Context=sockets=x11;` writes into the key file itself. */
function fromMetadata(value: string): ReadonlyArray<string> | string {
  const [group, key, ...rest] = value.split("=");
  if (group === undefined || group === "" || key === undefined || key === "") return "--metadata needs GROUP=KEY=value";
  const is = rest.join("=");
  if (group === "Context")
    return is
      .split(";")
      .filter(Boolean)
      .map((item) => `${key}=${item}`);
  if ((BUSES as ReadonlyArray<string>).includes(group)) return [`${group}: ${key}=${is}`];
  return group === "Environment" ? [`environment ${key}=${is}`] : [];
}

export interface Risk {
  /** `escape`: it can do anything the user can; `wide`: far more than most applications need; `note`: to know. */
  readonly level: "escape" | "wide" | "note";
  readonly why: string;
}

type Sign = readonly [RegExp, Risk["level"], string];

/** The first that fits counts. `:ro` at the end of a place takes most of the danger. */
const SIGNS: ReadonlyArray<Sign> = [
  [/^[a-z-]+=!|=none$/, "note", ""],
  [
    /^Session Bus Policy: org\.freedesktop\.Flatpak(\.\*)?=(talk|own)$/,
    "escape",
    "starts programs outside the sandbox",
  ],
  [/^Session Bus Policy: org\.freedesktop\.systemd1(\.\*)?=/, "escape", "starts programs outside the sandbox"],
  [
    /^Session Bus Policy: (\*|org|org\.freedesktop(\.\*)?|org\.\*)=(talk|own)$/,
    "escape",
    "talks to every service of the user",
  ],
  [/^sockets=session-bus$/, "escape", "talks to every service of the user"],
  [/^sockets=system-bus$/, "wide", "talks to every service of the system"],
  [/^System Bus Policy: (\*|org|org\.freedesktop(\.\*)?|org\.\*)=/, "wide", "talks to every service of the system"],
  [
    /^filesystems=(host|host-root|home|~|\/)(\/)?(:rw|:create)?$/,
    "escape",
    "writes all files of the user, and so what starts at login",
  ],
  [/^filesystems=(host|host-root|home|~|\/)(\/)?:ro$/, "wide", "reads all files of the user"],
  [
    /^filesystems=(~|home)\/\.(ssh|gnupg|pki|aws|kube|bashrc|profile|zshrc|local\/share\/flatpak|var\/app|config\/autostart)/,
    "escape",
    "reaches keys, or what starts outside the sandbox",
  ],
  [/^filesystems=xdg-config\/autostart/, "escape", "writes what starts at login"],
  [
    /^filesystems=(xdg-data\/flatpak|xdg-run\/(dbus|systemd|docker|podman))/,
    "escape",
    "reaches what starts programs outside the sandbox",
  ],
  [
    /^filesystems=\/(run|var\/run)\/(docker|podman|dbus|systemd)/,
    "escape",
    "reaches what starts programs outside the sandbox",
  ],
  [
    /^filesystems=(xdg-config|xdg-data|xdg-cache|~\/\.(config|local|cache))(\/?|\/share)(:rw|:create)?$/,
    "wide",
    "writes the settings of all applications",
  ],
  [/^filesystems=(host-etc|host-os|\/etc|\/usr|\/var)/, "wide", "sees the host's system"],
  [/^devices=all$/, "wide", "uses every device: cameras, keyboards, disks it may open"],
  [/^devices=(input|usb|kvm)$/, "note", "uses devices of that kind"],
  [/^features=devel$/, "wide", "may trace processes and use more system calls"],
  [/^sockets=x11$/, "wide", "sees the keys and windows of all X11 applications"],
  [/^sockets=fallback-x11$/, "note", "sees the keys and windows of X11 applications where there is no Wayland"],
  [/^sockets=(ssh-auth|gpg-agent|pcsc)$/, "wide", "uses keys of the user"],
  [/^Session Bus Policy: org\.freedesktop\.secrets=/, "wide", "reads all passwords that the user's keyring keeps"],
  [/^Session Bus Policy: [^=]+=own$/, "note", "takes a name on the bus"],
  [/^environment (LD_PRELOAD|LD_LIBRARY_PATH|LD_AUDIT)=/, "wide", "loads other code into every program of it"],
  [/^shared=network$/, "note", "uses the network"],
  [/^sockets=(pulseaudio|cups)$/, "note", "plays, and records, sound, or prints"],
];

/** Undefined: nothing that one should look at. */
export function riskOf(permission: string): Risk | undefined {
  const sign = SIGNS.find(([pattern]) => pattern.test(permission));
  return sign === undefined || sign[2] === "" ? undefined : { level: sign[1], why: sign[2] };
}
