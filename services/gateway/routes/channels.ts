/** Channels: what people ask of them; what is sent is the outbox's. */
import { Api } from "@millrace/contracts/api.ts";
import { type ChannelState, channel } from "@millrace/domain/integrations/channel.ts";
import { readChannelUrl, type Service } from "@millrace/domain/integrations/channel-url.ts";
import { channelsView } from "@millrace/domain/integrations/views.ts";
import * as HttpApiBuilder from "effect/http-api/HttpApiBuilder";
import { inWords, seenOf } from "../answers.ts";
import { commands, invalidInput } from "../command.ts";
import { fail } from "../failures.ts";
import type { Gateway } from "../gateway.ts";
import { history } from "../history.ts";
import { past } from "../past.ts";
import { list } from "../queries.ts";
import { checkAddress, destinations, headPosition, mayRead, mustRead, readFrom } from "./destinations.ts";

export const channelRoutes = (gateway: Gateway) =>
  HttpApiBuilder.group(Api, "channels", (handlers) => {
    const channels = commands(gateway, channel);
    const before = past(gateway, channel);
    const shared = destinations(gateway, channel);
    return handlers
      .handle(
        "createChannel",
        channels.create(async ({ payload: { url, ...payload } }, asked, id) => {
          const where = read(gateway, url);
          const events = mayRead(asked, payload.events ?? {});
          await shared.free(asked, payload.name, id);
          const spec = { description: "", templates: {}, ...payload, ...where, events };
          return { do: "create", spec, from: await headPosition(gateway), sealed: await shared.seal(asked, id, url) };
        }),
      )
      .handle("listChannels", list(gateway, channelsView, { query: inWords }))
      .handle("getChannel", before.get())
      .handle(
        "changeChannel",
        channels.change(async ({ payload: { url, ...payload } }, seen, asked, id) => {
          const { spec } = (await shared.there(asked, id)) as ChannelState;
          if (payload.events === undefined) mustRead(asked, spec!.events);
          const events = payload.events === undefined ? {} : { events: mayRead(asked, payload.events) };
          const where = url === undefined ? {} : read(gateway, url);
          const sealed = url === undefined ? {} : { sealed: await shared.seal(asked, id, url) };
          return { do: "change", spec: { ...payload, ...where, ...events }, ...sealed, ...seenOf(seen) };
        }),
      )
      .handle("deleteChannel", shared.remove())
      .handle(
        "pauseChannel",
        channels.act((_, seen) => ({ do: "pause", ...seenOf(seen) })),
      )
      .handle(
        "resumeChannel",
        channels.act(({ payload }, seen) => ({ do: "resume", skip: payload.skip ?? false, ...seenOf(seen) })),
      )
      .handle(
        "testChannel",
        channels.act((_, seen) => ({ do: "test", ...seenOf(seen) }), { status: 202 }),
      )
      .handle(
        "replayChannel",
        channels.act(({ payload }, seen) => ({ do: "replay", ...readFrom(payload), ...seenOf(seen) }), { status: 202 }),
      )
      .handle("deliveriesOfChannel", shared.deliveries())
      .handle("outboxOfChannel", shared.outbox())
      .handle("historyOfChannel", history(gateway, channel))
      .handle("diffChannel", before.diff());
  });

/** What may be shown of a channel's URL. @throws Failed (invalid-input), which never repeats it */
function read(gateway: Gateway, url: string): { readonly service: Service; readonly address: string } {
  const found = readChannelUrl(url);
  if ("fault" in found) return fail(invalidInput("/body/url", `is not as expected: ${found.fault}`));
  const { target, shown } = found;
  checkAddress(
    gateway,
    target.service === "mail" ? `http://${target.host}/` : "url" in target ? target.url : target.origin,
  );
  return { service: target.service, address: shown };
}
