/**
 * The labels by which this node knows what is its own. An image has one alone, `millrace.image`, that holds scope,
 * application and input: each label of a build is a step of its own, which takes time and may be the last one done when
 * a client dies.
 */
export const label = {
  scope: "millrace.scope",
  application: "millrace.app",
  deployment: "millrace.deployment",
  slot: "millrace.slot",
  config: "millrace.config",
  image: "millrace.image",
  checkedBy: "millrace.checked-by",
} as const;

type Labels = Readonly<Record<string, string>> | null | undefined;

export function isOurs(connection: { readonly scope: string }, labels: Labels): boolean {
  return labels?.[label.scope] === connection.scope;
}

/** Filter for the engine: all of these labels. */
export function filterOf(
  connection: { readonly scope: string },
  of: { readonly application?: string; readonly deployment?: string } = {},
): string[] {
  return [
    `${label.scope}=${connection.scope}`,
    ...(of.application === undefined ? [] : [`${label.application}=${of.application}`]),
    ...(of.deployment === undefined ? [] : [`${label.deployment}=${of.deployment}`]),
  ];
}

/** Value of an image's label. Content only: equal inputs give equal images. */
export function imageLabel(connection: { readonly scope: string }, application: string, inputHash: string): string {
  return `${imagePrefix(connection, application)}${inputHash}`;
}

export function imagePrefix(connection: { readonly scope: string }, application: string): string {
  return `${connection.scope}/${application}/`;
}

/** The input's hash of one of our images; undefined when it is not ours. */
export function inputOf(connection: { readonly scope: string }, labels: Labels): string | undefined {
  const [scope, application, input] = labels?.[label.image]?.split("/") ?? [];
  return scope === connection.scope && application ? input : undefined;
}
