/** Whether what people typed is within the limits: the same for the API and for whoever else issues commands. */
import type { FieldError } from "@millrace/contracts/problems.ts";
import { bytesOf, isDay, LIMITS, PATTERNS } from "@millrace/contracts/work/values.ts";
import type { Refusal } from "../decider.ts";

type Check = (value: string) => string | undefined;

const says = (ok: (value: string) => boolean, detail: string): Check => {
  return (value) => (ok(value) ? undefined : detail);
};

export const title = says(
  (value) => PATTERNS.title.test(value),
  `one line of 1 to ${LIMITS.title} characters without control characters, not beginning with white space`,
);
export const lineText = says(
  (value) => PATTERNS.lineText.test(value),
  `one line of 1 to ${LIMITS.lineText} characters without control characters, not beginning with white space`,
);
export const longText = says(
  (value) => PATTERNS.text.test(value) && bytesOf(value) <= LIMITS.textBytes,
  `text of at most ${LIMITS.textBytes} bytes without control characters`,
);
export const commentText = says(
  (value) => value.length > 0 && PATTERNS.text.test(value) && bytesOf(value) <= LIMITS.commentBytes,
  `text of 1 to ${LIMITS.commentBytes} bytes without control characters`,
);
export const reason = says(
  (value) => value.trim() !== "" && value.length <= LIMITS.reason && PATTERNS.text.test(value),
  `a reason of 1 to ${LIMITS.reason} characters`,
);
export const label = says(
  (value) => PATTERNS.label.test(value),
  "lower-case letters, digits, hyphens, dots and slashes; at most 63, beginning with a letter or digit",
);
export const assignee = says(
  (value) => PATTERNS.assignee.test(value),
  "lower-case letters, digits and `._@-`; at most 64, beginning with a letter or digit",
);
export const name = says(
  (value) => PATTERNS.name.test(value),
  "lower-case letters, digits and hyphens; at most 63, beginning with a letter or digit",
);
export const day = says(isDay, "a day of the calendar as YYYY-MM-DD");

/** Gathers what is wrong with an input, place by place. */
export class Faults {
  readonly #errors: FieldError[] = [];

  /** @param pointer without the slot, e.g. `/title` */
  check(pointer: string, check: Check, value: string | null | undefined): this {
    const detail = value === undefined || value === null ? undefined : check(value);
    return detail === undefined ? this : this.add(pointer, detail);
  }

  each(pointer: string, check: Check, values: ReadonlyArray<string>): this {
    for (const [i, value] of values.entries()) this.check(`${pointer}/${i}`, check, value);
    return this;
  }

  most(pointer: string, count: number, most: number): this {
    return count > most ? this.add(pointer, `at most ${most} of them, not ${count}`) : this;
  }

  add(pointer: string, detail: string): this {
    this.#errors.push({ pointer: `/body${pointer}`, detail });
    return this;
  }

  get any(): boolean {
    return this.#errors.length > 0;
  }

  /** @param fix one sentence; left out: to change the places named */
  refusal(fix = "Change the places named, and send it again."): Refusal | undefined {
    return this.any ? { refused: "invalid", errors: this.#errors, fix } : undefined;
  }
}
