/** Leases on three servers. */
import { threeServers } from "../tests/harness/servers.ts";
import { suite } from "../tests/harness/suite.ts";
import { leasePromises } from "./conformance-leases.ts";

const test = suite("leases on three servers");
leasePromises(test, async () => {
  const { urls, user, pass } = await threeServers();
  return { url: urls.join(","), user, password: pass, name: "leases", replicas: 3 };
});
test.run();
