/** The labels by which this node knows what is its own. */
export const label = {
  scope: "millrace.scope",
  application: "millrace.app",
  deployment: "millrace.deployment",
  slot: "millrace.slot",
  config: "millrace.config",
  input: "millrace.input",
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
