/** A fleet to play with: `node main.ts --devices 20`. Ends with SIGINT or SIGTERM. */
import { parseArgs } from "node:util";
import { type DeviceSpec, MODELS, startFleet } from "./fleet.ts";

const HELP = `Simulated Shelly devices on loopback addresses.

  --devices <n>         how many (20)
  --models <a,b,…>      only these models, in turn; default: all that there are
  --base <address>      the first address (127.20.0.1); the next ones count up
  --port <n>            of HTTP and WebSocket, the same for all (8080); 0: a free one
  --password <text>     login on, with this password
  --outbound <ws://…>   Gen2 and later dial in there
  --peer <host:port>    Gen1 sends CoIoT there instead of to the group 224.0.1.187:5683
  --coiot-port <n>      where Gen1 listens for CoAP (5683)
  --no-coiot            no CoIoT
  --mdns-port <n>       5353
  --no-mdns             no mDNS
  --control <n>         port of the control server (a free one)
  --wake-every <s>      sleepers wake that often (60); 0: only when told
  --seed <n>            of MAC addresses (1)
  --json                prints what there is as one line of JSON, for programs
  --help

models: ${MODELS.join(", ")}
`;

const { values } = parseArgs({
  options: {
    devices: { type: "string", default: "20" },
    models: { type: "string" },
    base: { type: "string", default: "127.20.0.1" },
    port: { type: "string", default: "8080" },
    password: { type: "string" },
    outbound: { type: "string" },
    peer: { type: "string" },
    "coiot-port": { type: "string", default: "5683" },
    "no-coiot": { type: "boolean", default: false },
    "mdns-port": { type: "string", default: "5353" },
    "no-mdns": { type: "boolean", default: false },
    control: { type: "string", default: "0" },
    "wake-every": { type: "string", default: "60" },
    seed: { type: "string", default: "1" },
    json: { type: "boolean", default: false },
    help: { type: "boolean", default: false },
  },
});

if (values.help) {
  process.stdout.write(HELP);
  process.exit(0);
}

function whole(name: "devices" | "port" | "coiot-port" | "mdns-port" | "control" | "wake-every" | "seed"): number {
  const value = Number(values[name]);
  if (Number.isInteger(value) && value >= 0) return value;
  console.error(`--${name}: "${values[name]}" is no whole number`);
  process.exit(2);
}

const models = values.models === undefined ? MODELS : values.models.split(",");
const devices = models.map(
  (model): DeviceSpec => ({
    model,
    ...(values.password === undefined ? {} : { password: values.password }),
    ...(values.outbound === undefined ? {} : { outbound: values.outbound }),
    ...(values.peer === undefined ? {} : { coiotPeer: values.peer }),
  }),
);

const fleet = await startFleet({
  devices,
  count: whole("devices"),
  base: values.base,
  port: whole("port"),
  seed: whole("seed"),
  timing: {
    wakeEveryMs: whole("wake-every") * 1000,
    awakeMs: 10_000,
    rebootMs: 500,
    bootMs: 3_000,
    otaStepMs: 1_000,
    coverMs: 15_000,
    coiotMs: 15_000,
  },
  ...(values["no-coiot"] ? {} : { coiot: { port: whole("coiot-port") } }),
  ...(values["no-mdns"] ? {} : { mdns: { port: whole("mdns-port") } }),
  control: { port: whole("control") },
}).catch((error: unknown) => {
  console.error(error instanceof Error ? error.message : String(error));
  process.exit(1);
});

if (values.json) {
  const shown = fleet.devices.map(({ mac, id, model, generation, url }) => ({ mac, id, model, generation, url }));
  console.log(JSON.stringify({ port: fleet.port, control: fleet.controlUrl, devices: shown }));
} else {
  for (const { model, generation, id, url } of fleet.devices)
    console.log(`Gen${generation}  ${model.padEnd(16)} ${url.padEnd(26)} ${id}`);
  console.log(`\n${fleet.devices.length} devices; control at ${fleet.controlUrl}/devices`);
}
// Its timers keep no process alive; its sockets do.
for (const signal of ["SIGINT", "SIGTERM"] as const)
  process.once(signal, () => void fleet.close().then(() => process.exit(0)));
