/** The log's promises on three servers. */
import { type ThreeServers, threeServers } from "../tests/harness/servers.ts";
import { suite } from "../tests/harness/suite.ts";
import { logConformance } from "./conformance.ts";

let cluster: Promise<ThreeServers> | undefined;
const test = suite("the log on three servers");
logConformance(test, async () => {
  cluster ??= threeServers();
  const { urls, user, pass } = await cluster;
  return { url: urls.join(","), user, password: pass, name: "log-three", replicas: 3 };
});
test.run();
