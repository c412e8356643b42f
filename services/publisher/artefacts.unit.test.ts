/** What is kept of builds that failed where there is not room for all of it; what a machine can run. */
import assert from "node:assert/strict";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { suite } from "../../tests/harness/suite.ts";
import { cannotRun } from "./adapters/builder/architecture.ts";
import { chosen } from "./artefacts.ts";

const test = suite("what builds leave, and what a machine runs");

test("what tells most is kept first, then the small; nothing beyond the room", () => {
  const seen = [
    { path: "failed/a-1/big.o", bytes: 900 },
    { path: "failed/a-1/small.c", bytes: 10 },
    { path: "failed/a-1/config.log", bytes: 500 },
    { path: "manifest.json", bytes: 50 },
    { path: "failed/a-1/lib.so", bytes: 0 },
  ];
  assert.deepEqual(chosen(seen, 600), {
    paths: ["manifest.json", "failed/a-1/config.log", "failed/a-1/lib.so", "failed/a-1/small.c"],
    omitted: 1,
  });
  assert.deepEqual(chosen(seen, 0), { paths: ["failed/a-1/lib.so"], omitted: 4 });
  assert.equal(chosen(seen, 10_000).omitted, 0);
});

test("a machine runs its own programs, what its processor runs as well, and what the kernel has an emulator for", async ({
  defer,
}) => {
  const register = mkdtempSync(join(tmpdir(), "millrace-binfmt-"));
  defer(() => rmSync(register, { recursive: true }));
  const code = async (arch: string) => (await cannotRun(arch, "x86_64", register))?.failed;
  assert.equal(await code("x86_64"), undefined);
  assert.equal(await code("i386"), undefined);
  const missing = await code("aarch64");
  assert.equal(missing?.code, "ARCH_CANNOT_RUN");
  assert.match(missing!.fix, /qemu-user-static.*qemu-aarch64/);
  const entry = (state: string, flags: string) =>
    writeFileSync(
      join(register, "qemu-aarch64"),
      `${state}\ninterpreter /usr/bin/qemu-aarch64-static\nflags: ${flags}\n`,
    );
  entry("disabled", "OCF");
  assert.match((await code("aarch64"))!.message, /runs no programs of aarch64/);
  entry("enabled", "OC");
  assert.match((await code("aarch64"))!.fix, /flag F/);
  entry("enabled", "POCF");
  assert.equal(await code("aarch64"), undefined);
});

test.run();
