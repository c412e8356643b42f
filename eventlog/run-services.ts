/**
 * `node run-services.ts <start.ts> …`: the services that these files export, as one process (`mill up --processes one`). Their settings
 * come from the environment that they share.
 */
import { pathToFileURL } from "node:url";
import { runServices, type Service } from "./service.ts";

const modules = await Promise.all(process.argv.slice(2).map((path) => import(pathToFileURL(path).href)));
await runServices(modules.map(serviceOf));

function serviceOf(module: Readonly<Record<string, unknown>>): Service {
  const found = Object.entries(module).find(([name]) => name.endsWith("Service"));
  if (found === undefined) throw new TypeError("a start.ts exports its service under a name that ends in Service");
  return found[1] as Service;
}
