/** Static sites, whose worker dies inside each effect; `npm run soak` dies everywhere, and in containers. */
import { sitesUnderDeaths } from "./faults/deaths-of-sites.ts";
import { suite } from "./harness/suite.ts";

const test = suite("deaths of static sites", { timeoutMs: 500_000 });

sitesUnderDeaths(test, (place) => /\.during$|UPDATING_ROUTES\.recorded|heal|tearDown/.test(place));

test.run();
