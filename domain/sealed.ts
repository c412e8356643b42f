/** A sealed value as the log carries it: which data key, of which subject, and what came of it. Opaque to the rules. */
import * as Schema from "effect/Schema";

export const Sealed = Schema.Struct({
  v: Schema.Literal(1),
  key: Schema.String,
  subject: Schema.String,
  iv: Schema.String,
  data: Schema.String,
});
export type Sealed = typeof Sealed.Type;
