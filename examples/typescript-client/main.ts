/**
 * The typed client in one page: who am I, something made, changed, found again, and a mistake as it comes back.
 *
 *     MILLRACE_URL=http://127.0.0.1:7400 MILLRACE_TOKEN=mrp_… node examples/typescript-client/main.ts
 */
import { connect } from "@millrace/contracts/client.ts";
import { InvalidInput, PreconditionFailed } from "@millrace/contracts/problems.ts";

const { MILLRACE_URL: url = "http://127.0.0.1:7400", MILLRACE_TOKEN: token } = process.env;
if (token === undefined) throw new Error("Set MILLRACE_TOKEN, e.g. to the owner's token that `npm start` showed.");

const mill = await connect({ url, token });

const me = await mill.run(mill.api.identity.whoami());
const params = { org: me.organisation.id };
console.log(`I am ${me.token.name} of ${me.organisation.title}.`);

// With "decoded-and-response" the headers are there, too: the ETag says which state was seen.
const [made, response] = await mill.run(
  mill.api.work.openItem({
    params,
    headers: {},
    payload: { type: "task", title: "Renew the certificate", labels: ["security"] },
    responseMode: "decoded-and-response",
  }),
);
const seen = response.headers.etag ?? "*";
console.log(`Opened ${made.id}, ${made.status.stateTitle}.`);

const item = { org: me.organisation.id, id: made.id };
await mill.run(
  mill.api.work.changeItem({ params: item, headers: { "if-match": seen }, payload: { notes: "Valid for a year." } }),
);

// Whoever saw an older state is told, and nothing is overwritten.
const late = mill.run(
  mill.api.work.changeItem({ params: item, headers: { "if-match": seen }, payload: { title: "?" } }),
);
await late.catch((problem: unknown) => {
  if (!(problem instanceof PreconditionFailed)) throw problem;
  console.log(`Too late: ${problem.detail} ${problem.fix}`);
});

// The client sends along what it has seen, so the list shows what was just made.
const { items } = await mill.run(
  mill.api.work.listItems({ params, headers: {}, query: { label: "security", sort: "-createdAt", limit: 10 } }),
);
console.log(`Found ${items.some(({ id }) => id === made.id) ? "it" : "nothing"} among ${items.length}.`);

const { items: history } = await mill.run(mill.api.work.historyOfItem({ params: item, headers: {}, query: {} }));
for (const { at, actor, sentence } of history.toReversed()) console.log(`${at}  ${actor.name} ${sentence}`);

const mistake = mill.run(
  mill.api.identity.createToken({
    params,
    headers: {},
    payload: { name: "ci", grants: ["work:read"], expiresAt: "2020-01-01T00:00:00Z" },
  }),
);
await mistake.catch((problem: unknown) => {
  if (!(problem instanceof InvalidInput)) throw problem;
  for (const { pointer, detail } of problem.errors ?? []) console.log(`${pointer} ${detail}`);
});
