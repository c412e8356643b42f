/**
 * Caddy's whole configuration, rendered by one pure function and loaded only when it differs from what Caddy has: a load
 * closes connections, so deployments never cause one (routes.ts).
 */
import type { NodeDisk } from "./disk.ts";
import type { Outcome } from "./failure.ts";

export interface AppRoute {
  readonly id: string;
  /** Lower case, without port. */
  readonly hosts: readonly string[];
  readonly state: "running" | "stopped";
  readonly serve:
    | {
        readonly kind: "static";
        /** Default `index.html`. */
        readonly index?: string;
        /** Answer the index with 200 for what is not there. */
        readonly spa?: boolean;
        /** A file of the site, answered with 404 for what is not there. */
        readonly notFound?: string;
      }
    | { readonly kind: "proxy" };
}

export interface CaddyNode {
  readonly disk: NodeDisk;
  /** `127.0.0.1:7480`: where applications are reached. */
  readonly listen: string;
  /** `unix//path` or `host:port`. */
  readonly admin: string;
  /** A folder for certificates. */
  readonly storage: string;
  /** off: HTTP only; internal: Caddy's own authority; auto: public certificates for hosts that are public names. */
  readonly tls: "off" | "internal" | "auto";
}

/** The configuration that serves these applications: the same for the same applications, in whatever order. */
export declare function renderCaddy(apps: readonly AppRoute[], node: CaddyNode): object;

/** Makes Caddy run this configuration: nothing is loaded when it does already. */
export declare function loadCaddy(
  admin: string,
  config: object,
  options?: { readonly signal?: AbortSignal; readonly timeoutMs?: number },
): Promise<Outcome<{ readonly changed: boolean }>>;
