/** Waiting that can be cut short. */
import { setTimeout as after } from "node:timers/promises";

/** Resolves after so many milliseconds, or as soon as the signal is aborted. */
export const pause = (ms: number, signal?: AbortSignal): Promise<void> =>
  after(Math.max(0, ms), undefined, signal === undefined ? {} : { signal }).then(
    () => {},
    () => {},
  );
