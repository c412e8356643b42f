/** A fleet of simulated Shelly devices in this process, each on its own loopback address. */
export type { Clock, ManualClock } from "./clock.ts";
export { manualClock, realClock } from "./clock.ts";
export type * from "./face.ts";
