/** What can be asked of an application. */
import type {
  ApplicationSpec,
  Build,
  Health,
  LiveRelease,
  Policy,
  Release,
  Runtime,
  Source,
} from "@millrace/contracts/applications/entities.ts";
import type { Outcome, Trigger } from "@millrace/contracts/applications/values.ts";

/** The generation the asker saw; left out: any. Another one is refused. */
interface Seen {
  readonly seen?: number;
}

type Some<T> = { readonly [K in keyof T]?: T[K] | undefined };
/** A union's members apart, so that each keeps its own fields. */
type EachSome<T> = T extends { readonly kind: infer K } ? { readonly kind: K } & Some<Omit<T, "kind">> : never;

/** What a person writes: what is left out is as `DEFAULTS` say. */
export interface ApplicationInput {
  readonly name: string;
  readonly title?: string;
  readonly source: EachSome<Source>;
  readonly build: EachSome<Build>;
  readonly runtime?: Some<Runtime>;
  readonly health?: Some<Health>;
  readonly domains?: ReadonlyArray<string>;
  readonly policy?: Some<Policy>;
  readonly node?: string;
  readonly wanted?: "running" | "stopped";
}

export interface CreateApplication {
  readonly do: "create";
  readonly spec: ApplicationInput;
  /** The host that it has of itself, made at the edge: `<name>.<organisation>.<the installation's domain>`. */
  readonly host: string;
}

export interface ChangeApplication extends Seen {
  readonly do: "change";
  /** `null`: none. */
  readonly title?: string | null;
  readonly source?: EachSome<Source>;
  readonly build?: EachSome<Build>;
  /** Fields left out stay as they are; `env` is replaced as a whole. */
  readonly runtime?: Some<Runtime>;
  readonly health?: Some<Health>;
  readonly domains?: ReadonlyArray<string>;
  readonly policy?: Some<Policy>;
  readonly node?: string | null;
}

/**
 * One part of asking for a deployment; `request.ts` makes all of them. Whatever it was made from comes with it and is
 * compared, so that a deployment is never asked for of what has changed meanwhile (409: the route loads again).
 */
export interface Deploy extends Seen {
  readonly do: "deploy";
  readonly deployment: string;
  readonly trigger: Trigger;
  readonly ref: string;
  /** `nextSeq` of the state it was made from. */
  readonly seq: number;
  readonly specGeneration: number;
  /** The whole queue of the state it was made from. */
  readonly superseded: ReadonlyArray<string>;
  readonly active: string | null;
  /** The release that is used again. */
  readonly release?: Release;
}

/** What people ask for. */
export type PersonsApplicationCommand =
  | CreateApplication
  | ChangeApplication
  | Deploy
  | (Seen & { readonly do: "start" | "stop" })
  | (Seen & { readonly do: "scale"; readonly instances: number })
  /** A deployment that waited was cancelled: one part, the other is the deployment's `cancel`. */
  | { readonly do: "dequeue"; readonly deployment: string }
  /** `queue` and `active` of the state it was made from; the deployments' `cancel` are the other parts. */
  | (Seen & { readonly do: "delete"; readonly queue: ReadonlyArray<string>; readonly active: string | null });

/** What workers report. `finish` and `activate` come with the deployment's own commit, all or nothing. */
export type WorkersApplicationCommand =
  | { readonly do: "place"; readonly node: string }
  | { readonly do: "activate"; readonly deployment: string; readonly live: string | null }
  | {
      readonly do: "finish";
      readonly deployment: string;
      readonly outcome: Outcome;
      /** What is live from now on, where it is this deployment. */
      readonly live?: LiveRelease;
      readonly problem?: {
        readonly code: string;
        readonly message: string;
        readonly fix?: string;
        readonly phase?: string;
      };
    }
  | { readonly do: "settle"; readonly wanted: "running" | "stopped"; readonly instances: number }
  | { readonly do: "recordDrift"; readonly resource: string; readonly expected: string; readonly actual: string }
  /** The fifth within ten minutes suspends further repairs of this resource. */
  | { readonly do: "recordRepair"; readonly resource: string; readonly action: string }
  | { readonly do: "recordRepairFailure"; readonly resource: string; readonly message: string }
  | { readonly do: "remove" };

export type ApplicationCommand = PersonsApplicationCommand | WorkersApplicationCommand;

export type { ApplicationSpec };
