/** A client that builds, for the test that kills it: `docker-building.ts <request as JSON>`. */
import { openDocker } from "./docker.ts";
import { requestFor } from "./docker-fixture.ts";

const { endpoint, scope, folder, application, tag } = JSON.parse(process.argv[2]!) as Record<string, string>;
const engine = openDocker({ endpoint: endpoint!, scope: scope! });
const request = requestFor(folder!, { application: application!, tag: tag!, onLine: (line) => console.log(line) });
await engine.build(request);
engine.close();
