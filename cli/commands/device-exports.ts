/** The fleet out and in. */
import { type Command, command } from "../table.ts";

const actions = () => import("../actions/device-exports.ts");

export const deviceExportCommands: readonly Command[] = [
  command({
    path: "devices export",
    summary: "Write the fleet to a file: its configuration, or a list for another program",
    description:
      "json and toml hold what is wanted, without state and secrets; csv, hosts, dnsmasq, isc and kea are lists, the last three reservations for DHCP servers.",
    arguments: {
      format: { summary: "How", choices: ["json", "toml", "csv", "hosts", "dnsmasq", "isc", "kea"] },
    },
    flags: {
      out: {
        type: "string",
        value: "PATH",
        summary: "File to write, of toml the folder; left out: standard output",
      },
      where: { type: "strings", value: "FIELD=VALUE", summary: "Only devices of which this holds; again for more" },
      domain: { type: "string", value: "DOMAIN", summary: "Of hosts: the domain of the names" },
    },
    examples: [
      { line: "mill devices export json --out fleet.json", says: "All of it, to be taken in again" },
      { line: "mill devices export dnsmasq --where site=home --out shelly.conf", says: "For `conf-file=`" },
    ],
    impact: "read",
    run: async (call) => (await actions()).exportDevices(call),
  }),
  command({
    path: "devices import",
    summary: "Take in what an export has written: what it says becomes what is wanted",
    description:
      "Where anything is wrong, all of it is told and nothing is taken in. What is not said stays, and a device that is not there is added.",
    arguments: { files: { summary: "A file of JSON, files of TOML, or a folder of them", many: true } },
    flags: {
      "dry-run": { type: "boolean", summary: "Say what would change, and change nothing" },
      site: { type: "string", value: "SITE", summary: "Where devices that are new stand; `home` if left out" },
    },
    examples: [
      { line: "mill devices import fleet.json --dry-run", says: "What would change" },
      { line: "mill devices import lamps/", says: "Every TOML file of a folder" },
    ],
    impact: "write",
    run: async (call) => (await actions()).importDevices(call),
  }),
];
