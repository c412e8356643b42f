/** The tests' engine ends with whoever started it, and leaves the machine as it was. */
import { spawn } from "node:child_process";
import { existsSync, mkdtempSync, readdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { commandLine, processesWhere, waitFor } from "@millrace/local/process.ts";
import * as assert from "uvu/assert";
import { testDocker } from "./docker.ts";
import { suite } from "./suite.ts";

const test = suite("tests' Docker engine", { timeoutMs: 120_000 });
const holder = fileURLToPath(new URL("./fixtures/engine-holder.ts", import.meta.url));

test("killed with its owner: no process, no bridge, no control group, no file of the system's", async (context) => {
  await testDocker(context); // skips where there can be none
  const folder = mkdtempSync(join(tmpdir(), "millrace-docker-"));
  context.defer(() => rmSync(folder, { recursive: true, force: true }));
  const system = ["/etc/docker", "/opt/containerd", "/run/containerd", "/run/docker"];
  const before = system.map((path) => existsSync(path));
  const owner = spawn(process.execPath, [holder, join(folder, "e")], { stdio: ["ignore", "pipe", "inherit"] });
  context.defer(() => owner.kill("SIGKILL"));
  const bridge = await new Promise<string>((resolve, reject) => {
    owner.stdout.once("data", (data: Buffer) => resolve(data.toString().trim()));
    owner.once("exit", (code) => reject(new Error(`it ended with ${code}`)));
  });
  const isThere = () => existsSync(`/sys/class/net/${bridge}`);
  assert.ok(isThere());
  const own = (pid: number) => commandLine(pid).includes(folder);
  assert.ok(processesWhere(own).length > 2);
  const groups = processesWhere(own).flatMap((pid) => /"cgroup":"(millrace-\w+)"/.exec(commandLine(pid))?.[1] ?? []);
  owner.kill("SIGKILL");
  assert.ok(await waitFor(() => processesWhere(own).length === 0, 40_000), "its processes ended");
  assert.not(isThere());
  assert.ok(groups.length > 0);
  for (const hierarchy of ["", ...readdirSync("/sys/fs/cgroup")])
    assert.not(existsSync(join("/sys/fs/cgroup", hierarchy, groups[0]!)), hierarchy);
  assert.equal(
    system.map((path) => existsSync(path)),
    before,
  );
});

test.run();
