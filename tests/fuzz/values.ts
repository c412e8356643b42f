/** Values for the fuzzer: what a schema asks for, and what nobody should send. */
import * as fc from "fast-check";
import { patternOf, type Schema, schemaOf } from "./document.ts";

/** JSON text that goes out as it stands: what no value of JavaScript prints as. */
export class Verbatim {
  readonly text: string;
  constructor(text: string) {
    this.text = text;
  }
}

/** Values of the library are shared: what is twisted is a copy. */
export function copyOf(value: unknown): unknown {
  if (typeof value !== "object" || value === null || value instanceof Verbatim) return value;
  if (Array.isArray(value)) return value.map(copyOf);
  const copy: Record<string, unknown> = {};
  for (const [name, inner] of Object.entries(value)) {
    Object.defineProperty(copy, name, { value: copyOf(inner), enumerable: true, configurable: true, writable: true });
  }
  return copy;
}

/** JSON, with `Verbatim` in it. */
export function print(value: unknown): string {
  if (value instanceof Verbatim) return value.text;
  if (Array.isArray(value)) return `[${value.map(print).join(",")}]`;
  if (typeof value !== "object" || value === null) return JSON.stringify(value) ?? "null";
  return `{${Object.entries(value)
    .map(([name, inner]) => `${JSON.stringify(name)}:${print(inner)}`)
    .join(",")}}`;
}

const long = (size: number) => "x".repeat(size);
const mark = (value: unknown) => Buffer.from(JSON.stringify(value)).toString("base64url");

/** Texts that were trouble to somebody once. */
export const HOSTILE_TEXTS: ReadonlyArray<string> = [
  ...[
    "",
    " ",
    "\t",
    "\n",
    "\r\nx-evil: 1",
    "\0",
    "a\0b",
    "\u0001",
    "\u001b[31m",
    "\u007f",
    "\u0085",
    "\u2028",
    "\ufeff",
    "\uffff",
  ],
  ...["\ud800", "\udc00", "a\udfffb", "\u{1f600}", "\u{10ffff}", "e\u0301", "\u202e", "İ", "ß", "Å"],
  ...[
    "..",
    "../",
    "../../etc/passwd",
    "..\\",
    "/",
    "//",
    ".",
    "a.b",
    "*",
    ">",
    "a.*",
    "evt.>",
    "$SYS",
    "$JS.API.>",
    "_INBOX.x",
  ],
  ...[
    "%",
    "%00",
    "%2e%2e%2f",
    "%zz",
    "%ff",
    "+",
    "&",
    "=",
    "?",
    "#",
    ";",
    "{}",
    "[]",
    "null",
    "true",
    "undefined",
    "NaN",
  ],
  ...["__proto__", "constructor", "toString", "hasOwnProperty", "prototype"],
  ...[
    "'",
    '"',
    "`",
    "\\",
    "' OR 1=1 --",
    "'; DROP TABLE x; --",
    "$1",
    "%s%n",
    "{{x}}",
    "<script>",
    "&lt;",
    "(((a+)+)+)+$",
  ],
  ...["0", "-0", "-1", "1e999", "9007199254740993", "99999999999999999999", "0x10", "1_000", "٣"],
  ...[
    "0000-01-01T00:00:00Z",
    "0001-01-01T00:00:00.000000001Z",
    "2026-02-30T00:00:00Z",
    "2026-13-01T00:00:00Z",
    "9999-12-31T23:59:59Z",
    "2026-01-01T00:00:00+23:59",
    "0000-01-01T00:00:00.000Z",
  ],
  ...[
    "2026-01-01T24:00:00Z",
    "2026-01-01T00:00:60Z",
    "2026-01-01T00:00:00+99:99",
    "2026-01-01T00:00:00-15:59",
    "+010000-01-01T00:00:00Z",
  ],
  ...["0000-01-01", "2026-02-30", "9999-12-31", "9999-99-99", "v0", "v1", "v999999999", "v9999999999", "v-1"],
  ...[
    "*",
    "work:*",
    "*:*",
    "work:read@itm_00000000000000000000000000",
    "identity:install",
    "org_00000000000000000000000000",
  ],
  ...[
    mark(null),
    mark([]),
    mark({}),
    mark({ sort: "-createdAt", value: "x", id: "x" }),
    mark({ builtIn: 1e15 }),
    mark({ builtIn: -1 }),
  ],
  ...[
    mark({ work: [1e15, 1e15], devices: [1, 2 ** 31], identity: [2 ** 53, 0] }),
    mark({ identity: [-1, -1] }),
    mark({ work: ["1", "1"] }),
    mark({ __proto__: [1, 1], x: [1, 1] }),
  ],
  ...[
    mark({ sort: "-createdAt", value: "infinity", id: "" }),
    mark({ sort: "title", value: "\0", id: "\0" }),
    mark({ sort: "-createdAt", value: "0000-01-01", id: "\ud800" }),
  ],
  ...[
    Buffer.from("1;work:0").toString("base64url"),
    Buffer.from("1;").toString("base64url"),
    Buffer.from("2;work:1").toString("base64url"),
  ],
  ...[Buffer.from("1;work:1.99999").toString("base64url"), Buffer.from("1;nowhere:9").toString("base64url")],
  ...[long(64), long(255), long(201), long(1_025), long(4_000)],
];

export const hostileText: fc.Arbitrary<string> = fc.oneof(
  { weight: 6, arbitrary: fc.constantFrom(...HOSTILE_TEXTS) },
  { weight: 2, arbitrary: fc.string({ unit: "binary", maxLength: 20 }) },
  { weight: 1, arbitrary: fc.string({ maxLength: 300 }) },
);

const verbatim = (...texts: string[]) => texts.map((text) => new Verbatim(text));

/** Of any type. */
export const hostileJson: fc.Arbitrary<unknown> = fc.oneof(
  { weight: 6, arbitrary: hostileText },
  {
    weight: 4,
    arbitrary: fc.constantFrom<unknown>(
      ...[
        null,
        true,
        false,
        0,
        -0,
        -1,
        1.5,
        201,
        2 ** 31,
        2 ** 53,
        -(2 ** 63),
        1e308,
        5e-324,
        [],
        {},
        [[]],
        [null],
        { a: 1 },
      ],
      ...verbatim("1e999", "-1e999", "-0", "1E400", "123456789012345678901234567890", "0.1e-400"),
      ...verbatim(
        '"\\ud800"',
        '"\\u0000"',
        '"\\udc00\\ud800"',
        '{"__proto__":{"a":1}}',
        '{"constructor":{"prototype":{}}}',
        '{"a":1,"a":2}',
      ),
      ...verbatim(
        `${"[".repeat(31)}${"]".repeat(31)}`,
        `${'{"a":'.repeat(40)}1${"}".repeat(40)}`,
        `${"[".repeat(5_000)}${"]".repeat(5_000)}`,
      ),
      ...verbatim("NaN", "undefined", "'a'", "01", "[1,]", "//", "\u00a0", ""),
    ),
  },
  {
    weight: 1,
    arbitrary: fc.constantFrom<unknown>(
      long(70_000),
      Array.from({ length: 300 }, () => "x"),
      Array.from({ length: 20_000 }, () => 1),
    ),
  },
  { weight: 2, arbitrary: fc.jsonValue({ maxDepth: 3 }) },
);

/** Made once for each of what they are made from: to make one takes longer than to draw a thousand from it. */
function once<K, A>(make: (of: K) => A): (of: K) => A {
  const made = new Map<K, A>();
  return (of) => {
    if (!made.has(of)) made.set(of, make(of));
    return made.get(of)!;
  };
}

/** And the hostile ones among those that are allowed: a day that no calendar has, a year that no database knows. */
function orHostile(any: fc.Arbitrary<string>, isAllowed: (text: string) => boolean): fc.Arbitrary<string> {
  const hostile = HOSTILE_TEXTS.filter(isAllowed);
  if (hostile.length === 0) return any;
  return fc.oneof({ weight: 2, arbitrary: any }, { weight: 1, arbitrary: fc.constantFrom(...hostile) });
}

/** Texts that fit a pattern. */
const matching = once((pattern: string): fc.Arbitrary<string> => {
  const whole = patternOf(pattern);
  return orHostile(generated(pattern, whole), (text) => whole.test(text));
});

function generated(pattern: string, whole: RegExp): fc.Arbitrary<string> {
  // Classes of Unicode are slow to be turned round and mostly quick to be hit.
  if (/\\p\{/i.test(pattern)) {
    const any = fc.oneof(
      fc.string({ minLength: 1, maxLength: 40 }),
      fc.string({ unit: "grapheme", minLength: 1, maxLength: 20 }),
    );
    if (fc.sample(any, { numRuns: 200, seed: 1 }).some((text) => whole.test(text)))
      return any.filter((text) => whole.test(text));
  }
  // Long runs say nothing more than short ones and cost time; the longest are among the hostile texts.
  const short = pattern
    .replaceAll(/\{(\d+),(\d{3,})\}/g, (_, least, most) => `{${least},${Math.min(Number(most), 24)}}`)
    .replaceAll("\\p{Cc}", "\\x00-\\x1f\\x7f-\\x9f")
    .replaceAll("\\p{Cs}", "");
  return fc.stringMatching(new RegExp(short, "u"), { size: "small" }).filter((text) => whole.test(text));
}

/** @param lengths least and most, as `<least> <most>` */
const anyText = once((lengths: `${number} ${number}`): fc.Arbitrary<string> => {
  const [minLength, maxLength] = lengths.split(" ").map(Number) as [number, number];
  const any = fc.string({ minLength, maxLength, unit: "grapheme" }).filter((text) => text.length >= minLength);
  return orHostile(any, ({ length }) => length >= minLength && length <= maxLength);
});

/** The document's own examples now and then: their parts fit each other. */
const orExample = <A>(schema: Schema, any: fc.Arbitrary<A>): fc.Arbitrary<A> =>
  schema.examples === undefined || schema.examples.length === 0
    ? any
    : fc.oneof({ weight: 3, arbitrary: fc.constantFrom(...(schema.examples as A[])) }, { weight: 1, arbitrary: any });

function ofString(schema: Schema): fc.Arbitrary<string> {
  const { minLength = 0, maxLength = 60 } = schema;
  if (schema.enum !== undefined) return fc.constantFrom(...(schema.enum as string[]));
  if (schema.pattern !== undefined) return orExample(schema, matching(schema.pattern));
  return anyText(`${minLength} ${Math.min(maxLength, 60)}`);
}

/** Values that are as the schema says. */
export function validOf(given: Schema): fc.Arbitrary<unknown> {
  const schema = schemaOf(given);
  const { enum: listed } = [schema, ...(schema.allOf ?? []).map(schemaOf)].find((one) => one.enum !== undefined) ?? {};
  if (listed !== undefined) return fc.constantFrom(...listed);
  if (schema.anyOf !== undefined) return fc.oneof(...schema.anyOf.map(validOf));
  switch (schema.type) {
    case "string":
      return ofString(schema);
    case "integer":
      return fc.integer({ min: schema.minimum ?? -1_000, max: schema.maximum ?? 1_000 });
    case "number":
      return fc.double({ min: schema.minimum ?? -1e6, max: schema.maximum ?? 1e6, noNaN: true });
    case "boolean":
      return fc.boolean();
    case "null":
      return fc.constant(null);
    case "array":
      return fc.array(validOf(schema.items ?? {}), {
        minLength: schema.minItems ?? 0,
        maxLength: Math.min(schema.maxItems ?? 4, (schema.minItems ?? 0) + 4),
      });
    case "object": {
      const [named] = Object.entries(schema.patternProperties ?? {});
      if (named !== undefined) return fc.dictionary(matching(named[0]), validOf(named[1]), { maxKeys: 4 });
      return orExample(
        schema,
        fc.record(
          Object.fromEntries(Object.entries(schema.properties ?? {}).map(([name, inner]) => [name, validOf(inner)])),
          { requiredKeys: [...(schema.required ?? [])], noNullPrototype: true },
        ),
      );
    }
    default:
      return fc.jsonValue({ maxDepth: 2 });
  }
}
