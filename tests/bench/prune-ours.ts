/** One act of ours on a repository, in a process of its own whose memory is looked at: `<repository> prune|scrub|nothing`; prints JSON. */
import { Leases } from "@millrace/publisher/adapters/ostree/leases.ts";
import { prune } from "@millrace/publisher/adapters/ostree/prune.ts";
import { Repository } from "@millrace/publisher/adapters/ostree/repository.ts";
import { scrubRepository } from "@millrace/publisher/repositories/scrub.ts";

const [root = "", act = "nothing"] = process.argv.slice(2);
const repository = await Repository.open(root);
const began = performance.now();
let found = 0;
if (act === "prune") {
  const leases = await Leases.open(repository);
  const options = { depth: 0, youngMs: 0, graceMs: 0 };
  // Into quarantine, and from there, as two prunes do after a time of grace.
  found += (await prune(repository, leases, options)).quarantined;
  found -= (await prune(repository, leases, options)).deleted;
} else if (act === "scrub") {
  const tell = async (round: { readonly found: number }) => {
    found += round.found;
  };
  await scrubRepository(repository, { bytesPerSecond: 2 ** 50, everyMs: 1e12, tell }, new AbortController().signal);
}
if (found !== 0) throw new Error(`${found} were not deleted, or found wrong`);
const seconds = (performance.now() - began) / 1_000;
process.stdout.write(JSON.stringify({ seconds, mib: process.resourceUsage().maxRSS / 1024 }));
