/** What is wrong with an input, gathered place by place, so that it is all said at once. */
import type { FieldError } from "@millrace/contracts/problems.ts";
import type { Refusal } from "./decider.ts";

/** @returns what is wrong, or undefined */
export type Check = (value: string) => string | undefined;

export const says = (ok: (value: string) => boolean, detail: string): Check => {
  return (value) => (ok(value) ? undefined : detail);
};

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
