/** Names that are unique in an organisation, among those of a kind. */
import type { Claim } from "./decider.ts";

/**
 * @param noun of one of the kind, as in "schedule"
 * @param fix what who wants a taken name can do
 */
export const nameClaims = (noun: string, fix = "Choose another name, or change that one.") => {
  const of = (organisation: string, name: string): Pick<Claim, "what" | "value"> => ({
    what: `${noun}-name`,
    value: `${organisation}/${name}`,
  });
  const taken = (name: string): Claim["taken"] => ({
    refused: "conflict",
    reason: `Another ${noun} of the organisation is called "${name}".`,
    fix,
  });
  const claim = (organisation: string, name: string, hold: boolean): Claim => ({
    ...of(organisation, name),
    hold,
    taken: taken(name),
  });
  /** Another name in the place of one. */
  const moved = (organisation: string, from: string, to: string): Claim[] => [
    claim(organisation, from, false),
    claim(organisation, to, true),
  ];
  return { of, claim, moved, taken };
};
