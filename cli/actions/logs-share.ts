/** `mill logs share`: a link to log lines, for people without a token. */
import { usage } from "../failure.ts";
import { bodyOf, gatewayOf } from "../gateway.ts";
import { facts, printOne } from "../output.ts";
import { styleOf } from "../run.ts";
import type { Call } from "../table.ts";
import type { Answer } from "../typed.ts";
import { type Apps, asked, type Choosing, type Of, UNITS } from "./logs.ts";

const EXPIRES = "1d";

function msOf(text: string): number {
  const found = /^(\d{1,6})([smhd])$/.exec(text);
  if (found === null) throw usage(`--expires ${text} is no length of time`, "Write 30m, 12h or 7d");
  return Number(found[1]) * UNITS[found[2]!]!;
}

export async function share(call: Call<Choosing & Of<"string", "expires">, Apps>): Promise<void> {
  const { path, query } = asked(call);
  const { applications, ...chosen } = query;
  const expiresInMs = msOf(call.flags.expires ?? EXPIRES);
  const gateway = gatewayOf(call);
  const search = applications === undefined ? "" : `?${new URLSearchParams({ applications })}`;
  const answer = await gateway.raw({
    method: "POST",
    path: `${path(await gateway.org())}/share${search}`,
    headers: { "content-type": "application/json" },
    body: JSON.stringify({ query: chosen, expiresInMs }),
  });
  const made = bodyOf(answer) as Answer<"shareLogsOfApplications">;
  const shown = { ...made, url: new URL(made.url, gateway.target.url).href };
  const people = (link: typeof shown) =>
    facts([
      ["link", link.url],
      ["good until", link.expiresAt],
    ]);
  await printOne(call.io, styleOf(call), shown, people, ({ url }) => url);
}
