/** Places for what costs something as long as it lasts: so many for each who asks, and so many in all. */
import { RateLimited } from "@millrace/contracts/problems.ts";
import { fail } from "./failures.ts";

export interface PlacesOptions {
  readonly each: number;
  readonly all: number;
  /** What is said to who has too many of them, and to anybody when all are taken. */
  readonly tooMany: (taken: number) => string;
  readonly full: string;
  readonly fix: string;
}

export class Places {
  readonly #options: PlacesOptions;
  #all = 0;
  readonly #taken = new Map<string, number>();

  constructor(options: PlacesOptions) {
    this.#options = options;
  }

  /** @param who e.g. the token's id @returns gives the place back @throws Failed (rate-limited) */
  enter(who: string): () => void {
    const { each, all, tooMany, full, fix } = this.#options;
    const mine = this.#taken.get(who) ?? 0;
    if (this.#all >= all || mine >= each) {
      fail(new RateLimited({ detail: mine >= each ? tooMany(mine) : full, fix, retryAfterSeconds: 10 }));
    }
    this.#all++;
    this.#taken.set(who, mine + 1);
    let isIn = true;
    return () => {
      if (!isIn) return;
      isIn = false;
      this.#all--;
      const left = this.#taken.get(who)! - 1;
      if (left === 0) this.#taken.delete(who);
      else this.#taken.set(who, left);
    };
  }
}
