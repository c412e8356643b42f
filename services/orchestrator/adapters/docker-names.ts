/** What containers, networks and images are called: from ids alone, so that whoever comes after a crash finds them. */

/** `mill-<appId>-<depId>-<slot>`, lower case. */
export function containerName(application: string, deployment: string, slot: number): string {
  return `mill-${application}-${deployment}-${slot}`.toLowerCase();
}

/** `mill-<appId>`, lower case. */
export function networkName(application: string): string {
  return `mill-${application}`.toLowerCase();
}

/** `millrace/<appId>:<depId>`, lower case. */
export function imageTag(application: string, deployment: string): string {
  return `millrace/${application}:${deployment}`.toLowerCase();
}
