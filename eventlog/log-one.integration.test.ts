/** The log's promises on one server. */

import { testNats } from "../tests/harness/servers.ts";
import { suite } from "../tests/harness/suite.ts";
import { logConformance } from "./conformance.ts";

const test = suite("the log on one server");
logConformance(test, async () => {
  const { url, user, pass } = await testNats();
  return { url, user, password: pass, name: "log-one", replicas: 1 };
});
test.run();
