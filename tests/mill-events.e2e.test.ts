/** Following along with `mill`: a tail that survives the gateway's death, positions, watching, Ctrl-C. */
import * as assert from "uvu/assert";
import { eventually } from "./harness/eventually.ts";
import { ONE_PROCESS, testMill } from "./harness/mill.ts";
import { deferToEndOfFile, suite } from "./harness/suite.ts";

const test = suite("mill events", { timeoutMs: 180_000 });

const mill = testMill({ defer: deferToEndOfFile }, ONE_PROCESS);
await mill.up();

const open = async (title: string) => (await mill.out(["work", "open", title, "-o", "name", "--timeout", "90"])).trim();

interface Event {
  readonly id: string;
  readonly type: string;
  readonly source: string;
  readonly data: { readonly title?: string };
}
const eventsIn = (out: string): Event[] =>
  out
    .split("\n")
    .slice(0, -1)
    .map((line) => JSON.parse(line) as Event);

test("the gateway dies again and again under it, and it shows every event once, in order", async ({ defer }) => {
  const tail = mill.start(["events", "tail", "--from", "beginning", "--type", "ItemOpened", "-o", "jsonl"]);
  defer(() => tail.child.kill("SIGKILL"));
  const titles: string[] = [];
  for (let round = 0; round < 2; round++) {
    for (let each = 0; each < 3; each++) {
      titles.push(`Round ${round}, ${each}`);
      await open(titles.at(-1)!);
    }
    process.kill(mill.services().find(({ name }) => name === "services")!.pid!, "SIGKILL");
  }
  titles.push("The last one");
  await open("The last one");
  await tail.says("The last one");
  const shown = eventsIn(tail.out());
  assert.equal(
    shown.map(({ data }) => data.title),
    titles,
  );
  assert.is(new Set(shown.map(({ id }) => id)).size, titles.length);
  assert.match(tail.err(), "coming back");
  tail.child.kill("SIGINT");
  const { code, err } = await tail.ended;
  assert.is(code, 130);
  assert.match(err, /^position: [\w-]+$/m);
});

test("a position goes on exactly where the one before ended", async () => {
  const until = (...args: string[]) =>
    mill.run(["events", "tail", "--kind", "item", "--until-now", "-o", "jsonl", ...args]);
  // What was just done is told a moment later.
  const told = (title: string, ...args: string[]) =>
    eventually(async () => {
      const ended = await until(...args);
      return ended.code !== 0 || eventsIn(ended.out).some(({ data }) => data.title === title) ? ended : undefined;
    }, `${title} is told`);
  await open("Before the position");
  const first = await told("Before the position", "--from", "beginning");
  assert.is(first.code, 0, first.err);
  const position = /^position: ([\w-]+)$/m.exec(first.err)![1]!;
  const id = await open("After the position");
  const second = await told("After the position", "--after", position);
  assert.equal(
    eventsIn(second.out).map(({ data, source }) => [data.title, source.split("/").at(-1)]),
    [["After the position", id]],
  );
  const people = await mill.out(["events", "tail", "--after", position, "--id", id, "--limit", "1"]);
  assert.match(people, `work/item  ${id}`.replace("  ", " "));
  assert.is((await until("--after", "nonsense!")).code, 2);
  assert.is((await mill.run(["events", "tail", "--timeout", "1"])).code, 124);
});

test("--watch shows an entity and a list again whenever they change", async ({ defer }) => {
  const id = await open("To be watched");
  const list = mill.start(["work", "list", "--search", "watched", "--watch", "-o", "jsonl"]);
  const show = mill.start(["work", "show", id, "--watch"]);
  for (const { child } of [list, show]) defer(() => child.kill("SIGKILL"));
  await Promise.all([list.says('"title":"To be watched"'), show.says("To be watched")]);
  await mill.out(["work", "change", id, "--title", "Has been watched"]);
  await Promise.all([list.says('"title":"Has been watched"'), show.says("Has been watched")]);
  await mill.out(["work", "delete", id, "--yes"]);
  await show.says("is gone");
  assert.is((await show.ended).code, 0);
  await list.says("is gone");
  list.child.kill("SIGINT");
  assert.is((await list.ended).code, 130);
});

test("--wait is answered by somebody else's change", async ({ defer }) => {
  const id = await open("To be waited for");
  const waiting = mill.start(["work", "show", id, "--wait", "state=in-progress", "-o", "json", "--timeout", "60"]);
  defer(() => waiting.child.kill("SIGKILL"));
  await mill.out(["work", "move", id, "in-progress"]);
  const { code, out } = await waiting.ended;
  assert.is(code, 0);
  assert.is(JSON.parse(out).status.state, "in-progress");
});

test.run();
