/** The integrations context: who is told of what happens. */
import type { ContextDeclaration } from "../kind.ts";
import { channel } from "./channel.ts";
import { subscriber } from "./subscriber.ts";
import { webhook } from "./webhook.ts";

export const integrations: ContextDeclaration = { name: "integrations", kinds: { webhook, channel, subscriber } };
