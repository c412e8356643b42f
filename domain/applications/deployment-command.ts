/** What can be asked of a deployment. */
import type { ApplicationSpec, LiveRelease, Outputs, Release } from "@millrace/contracts/applications/entities.ts";
import type { Compensation, FailureClass, Outcome, Phase, Trigger } from "@millrace/contracts/applications/values.ts";

export type PersonsDeploymentCommand =
  | {
      readonly do: "request";
      readonly application: string;
      readonly name: string;
      readonly seq: number;
      readonly trigger: Trigger;
      readonly ref: string;
      readonly requested: ApplicationSpec;
      readonly specGeneration: number;
      readonly release?: Release;
    }
  | { readonly do: "cancel"; readonly reason?: string }
  /** A newer one takes its place. Waiting, it ends at once; running, it is interrupted and undone. */
  | { readonly do: "supersede"; readonly by: string };

export type CompletePhase = {
  [P in Phase]: {
    readonly do: "completePhase";
    readonly phase: P;
    readonly attempt: number;
    readonly worker: string;
    readonly adopted: boolean;
    readonly output: Outputs[P];
    readonly durationMs: number;
  };
}[Phase];

/**
 * An attempt or worker that is not the current one is refused by rule `overtaken`: the worker drops its work, which
 * another has taken over, or which is not wanted any more.
 */
export type WorkersDeploymentCommand =
  /** It has its turn: with the application's `activate`, all or nothing. `live` is what the application has live now. */
  | { readonly do: "start"; readonly worker: string; readonly node: string; readonly live: LiveRelease | null }
  | { readonly do: "wait"; readonly reason: string }
  | {
      readonly do: "beginPhase";
      readonly phase: Phase;
      readonly attempt: number;
      readonly worker: string;
      readonly node: string;
      readonly inputHash?: string;
    }
  | CompletePhase
  | {
      readonly do: "failPhase";
      readonly phase: Phase;
      readonly attempt: number;
      readonly worker: string;
      /** `transient` is tried again, until a deadline or the twentieth attempt; everything else ends the deployment. */
      readonly class: FailureClass;
      /** Capitals, digits and underscores, e.g. `BUILD_FAILED`. */
      readonly code: string;
      readonly message: string;
      readonly fix: string;
      /** Milliseconds since 1970; left out: by the number of the attempt, from half a second to half a minute. */
      readonly retryAtMs?: number;
    }
  /** The world's clock has passed a deadline, or attempts are used up: as `next` says. */
  | { readonly do: "expire"; readonly reason: ExpiryReason; readonly phase: Phase; readonly worker: string }
  | { readonly do: "beginCompensation"; readonly step: Compensation; readonly attempt: number; readonly worker: string }
  | { readonly do: "compensated"; readonly step: Compensation; readonly attempt: number; readonly worker: string }
  | {
      readonly do: "failCompensation";
      readonly step: Compensation;
      readonly attempt: number;
      readonly worker: string;
      readonly code: string;
      readonly message: string;
      readonly retryAtMs?: number;
    }
  | { readonly do: "abandonCompensation"; readonly step: Compensation; readonly worker: string }
  /** With the application's `finish`, all or nothing. The outcome is checked against what has happened. */
  | { readonly do: "finish"; readonly outcome: Outcome };

/** `progress`, `healthy`: a deadline has passed. `poison`: twenty attempts have crashed or failed. */
export type ExpiryReason = "progress" | "healthy" | "poison";

export type DeploymentCommand = PersonsDeploymentCommand | WorkersDeploymentCommand;
