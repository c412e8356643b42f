/** Kinds of entities by whatever word people use for them: all told by the contracts. */
import { Failure, usage } from "./failure.ts";
import { COLLECTIONS, OPERATIONS } from "./operations.ts";
import { suggestions } from "./suggest.ts";
import { EXIT } from "./table.ts";
import type { OperationName } from "./typed.ts";

export interface KnownKind {
  /** `work.item` */
  readonly kind: string;
  /** `work-items` */
  readonly collection: string;
}

const lastWord = (kind: string): string => kind.slice(kind.indexOf(".") + 1);

/** @param word `item`, `work.item` or `work-items`; in one case. @throws Failure with exit code 2 */
export function kindNamed(word: string): KnownKind {
  const asked = word.toLowerCase();
  const found = COLLECTIONS.filter(
    ({ kind, collection }) => kind === asked || collection === asked || lastWord(kind) === asked,
  );
  if (found.length === 1) return found[0]!;
  if (found.length > 1) {
    throw usage(`"${word}" may be ${found.map(({ kind }) => kind).join(" or ")}`, "Write one of them in full");
  }
  const near = suggestions(
    asked,
    COLLECTIONS.flatMap(({ kind, collection }) => [lastWord(kind), kind, collection]),
  );
  const all = COLLECTIONS.map(({ kind }) => lastWord(kind)).join(", ");
  throw usage(`There is no kind "${word}"`, near.length > 0 ? `Did you mean "${near[0]}"?` : `There are: ${all}`);
}

/** Path of one entity of a kind; organisations are their own parent. */
const entityPath = ({ collection }: KnownKind): string =>
  collection === "organisations" ? "/v1/organisations/:org" : `/v1/organisations/:org/${collection}/:id`;

/** The operation that reads something of one entity. @throws Failure when the API has none for the kind */
export function operationOn(kind: KnownKind, below: "" | "/history" | "/diff"): OperationName {
  const path = entityPath(kind) + below;
  const found = Object.entries(OPERATIONS).find(
    ([, operation]) => operation.method === "GET" && operation.path === path,
  );
  if (found !== undefined) return found[0] as OperationName;
  throw new Failure("not-found", EXIT.notFound, `The API has no ${below.slice(1)} of ${lastWord(kind.kind)}`, {
    fix: "`mill events tail --kind` shows what happens to it",
  });
}

/** The parameters that name one entity. */
export const paramsOf = ({ collection }: KnownKind, id: string): Record<string, string> =>
  collection === "organisations" ? { org: id } : { id };
