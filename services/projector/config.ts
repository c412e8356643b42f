/** Configuration of the projector, from the environment. */
import { type ConfigOf, defineSettings, NATS_SETTINGS, POSTGRES_SETTINGS } from "@millrace/eventlog/settings.ts";

export const PROJECTOR_SETTINGS = defineSettings({ ...NATS_SETTINGS, ...POSTGRES_SETTINGS });

export type ProjectorConfig = ConfigOf<typeof PROJECTOR_SETTINGS>;
