/** `mill`: the process round one call. */
import { enableCompileCache } from "node:module";
import { homedir } from "node:os";
import { join } from "node:path";

// Halves the start, of the services too: what was compiled or looked for once is read the next time. An unwritable folder only costs that.
const cache = process.env.XDG_CACHE_HOME?.startsWith("/") ? process.env.XDG_CACHE_HOME : join(homedir(), ".cache");
process.env.NODE_COMPILE_CACHE ??= join(cache, "millrace", "compiled");
enableCompileCache(process.env.NODE_COMPILE_CACHE);
await import("@millrace/local/fast-start.ts");

const [{ run }, { processIo }] = await Promise.all([import("./run.ts"), import("./io.ts")]);

const interruption = new AbortController();
let signals = 0;
for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const) {
  process.on(signal, () => {
    interruption.abort();
    // The first asks; the third does not wait for an answer. What children there are end with this process.
    if (++signals >= 3) process.exit(130);
  });
}

const code = await run(process.argv.slice(2), processIo(interruption.signal));
process.exit(code);
