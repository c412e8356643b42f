/** Webhooks: where events are sent over HTTP, signed. */
import type { WebhookSpec } from "@millrace/contracts/integrations/entities.ts";
import * as shape from "@millrace/contracts/integrations/events.ts";
import { urlFault } from "@millrace/contracts/integrations/values.ts";
import * as Schema from "effect/Schema";
import type { Refusal } from "../decider.ts";
import { Faults } from "../faults.ts";
import type { EventDeclaration, Kind } from "../kind.ts";
import { nameClaims } from "../names.ts";
import { Sealed } from "../sealed.ts";
import { type DestinationCommand, type DestinationState, destinationDecider } from "./destination.ts";
import { filterText, SEALED, sharedDeclarations } from "./destination-events.ts";

export type WebhookState = DestinationState<WebhookSpec>;
export type WebhookCommand = DestinationCommand<WebhookSpec>;

const check = ({ url }: WebhookSpec): Refusal | undefined =>
  new Faults().check("/url", urlFault, url).refusal("Give an address that takes POST requests.");

const Created = Schema.Struct({ ...shape.WebhookCreated.fields, sealed: Sealed });
const Rotated = Schema.Struct({ ...shape.WebhookSecretRotated.fields, sealed: Sealed });

const withoutSealed = ({ sealed: _, ...rest }: { readonly sealed?: unknown }): unknown => rest;

const declarations: Readonly<Record<string, EventDeclaration>> = {
  WebhookCreated: {
    version: 1,
    data: Created,
    examples: {
      1: {
        name: "chat",
        url: "https://example.com/hooks/millrace",
        description: "",
        events: { context: ["work"] },
        from: { position: "MTs" },
        sealed: SEALED,
      },
    },
    sentence: ({ name, events }) => `created the webhook "${name}" for ${filterText(events)}`,
    toPublic: withoutSealed,
  },
  WebhookChanged: {
    version: 1,
    data: shape.WebhookChanged,
    examples: { 1: { url: "https://example.com/hooks/other" } },
    sentence: ({ url, events, description }) =>
      [
        ...(url === undefined ? [] : [`sent it to ${url}`]),
        ...(events === undefined ? [] : [`chose ${filterText(events)}`]),
        ...(description === undefined ? [] : ["described it"]),
      ].join(", ") || "changed it",
  },
  WebhookSecretRotated: {
    version: 1,
    data: Rotated,
    examples: { 1: { oldUntil: "2026-11-22T08:00:00.000Z", sealed: SEALED } },
    sentence: ({ oldUntil }) => `gave it another secret; the old one signs until ${oldUntil}`,
    toPublic: withoutSealed,
  },
  ...sharedDeclarations("Webhook", "webhook"),
};

/** What the API shows of any destination's status. */
export const statusOf = <Spec>({ state, reason, since, parked }: DestinationState<Spec>) => ({
  state,
  ...(reason === null ? {} : { reason }),
  since,
  parked,
});

export const webhook: Kind<WebhookState, WebhookCommand> = {
  context: "integrations",
  kind: "webhook",
  prefix: "whk",
  collection: "webhooks",
  decider: destinationDecider<WebhookSpec>({ noun: "Webhook", word: "webhook", check }),
  events: declarations,
  publicEvents: shape.webhookEvents,
  generation: (state) => state.generation,
  exists: (state) => state.exists,
  represent: (state) => {
    const { id, organisation, generation, spec, secrets, createdAt, updatedAt } = state;
    const old = secrets?.previous;
    return {
      id,
      organisation,
      generation,
      spec,
      status: { ...statusOf(state), ...(old === undefined ? {} : { oldSecretUntil: old.until }) },
      createdAt,
      updatedAt,
    };
  },
  nameClaim: nameClaims("webhook").of,
  stateVersion: 1,
};
