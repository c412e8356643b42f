/**
 * The language of conditions: comparisons, `and`, `or`, `not`, `in`, `matches`, `exists(…)`, `size(…)` and a little arithmetic over paths into
 * what a rule can see. No calls, no variables, no loops: a condition is checked when it is stored, has a bounded size, and takes time in
 * proportion to it. What is not there is `null`: nothing is greater or less than it, and it matches nothing.
 *
 *     event.data.group == "completed" and "urgent" in entity.spec.labels and not (time.hour < 8)
 */
import { RE2JS } from "re2js";
import { ExpressionFault } from "./expression-fault.ts";
import { type Token, tokenise } from "./expression-tokens.ts";
import { ANY, BOOLEAN, NUMBER, type Path, STRING, type Type, typeAt, valueAt } from "./types.ts";

export const EXPRESSION = { length: 2_000, nodes: 200, depth: 20, list: 50, pattern: 200, text: 10_000 } as const;

export type Value = unknown;
type Run = (scope: object) => Value;

interface Node {
  readonly type: Type;
  readonly run: Run;
  readonly path?: Path;
  /** Known when it is stored. */
  readonly constant?: Value;
}

export interface Condition {
  /** Whether it holds. Never throws. */
  readonly holds: (scope: object) => boolean;
  /** Paths that it looks at. */
  readonly paths: ReadonlyArray<Path>;
}

/** @param scope type of what it can see. @returns the condition, or what is wrong with it */
export function parseCondition(text: string, scope: Type): Condition | { readonly fault: string } {
  if (text.length > EXPRESSION.length) return { fault: `is longer than ${EXPRESSION.length} characters` };
  try {
    const parser = new Parser(tokenise(text), scope);
    const node = parser.whole();
    if (node.type.is !== "boolean" && node.type.is !== "any") {
      throw new ExpressionFault(`is a ${node.type.is}, not something that holds or does not`, 0);
    }
    return { holds: (value) => node.run(value) === true, paths: parser.paths };
  } catch (error) {
    if (error instanceof ExpressionFault) return { fault: `${error.message} (at character ${error.at + 1})` };
    throw error;
  }
}

const isNothing = (value: Value): value is null | undefined => value === null || value === undefined;

function same(a: Value, b: Value): boolean {
  if (isNothing(a) || isNothing(b)) return isNothing(a) && isNothing(b);
  return typeof a === "object" ? JSON.stringify(a) === JSON.stringify(b) : a === b;
}

const ORDER: Readonly<Record<string, (a: any, b: any) => boolean>> = {
  "<": (a, b) => a < b,
  "<=": (a, b) => a <= b,
  ">": (a, b) => a > b,
  ">=": (a, b) => a >= b,
};
const ARITHMETIC: Readonly<Record<string, (a: number, b: number) => number>> = {
  "+": (a, b) => a + b,
  "-": (a, b) => a - b,
  "*": (a, b) => a * b,
  "/": (a, b) => a / b,
};

class Parser {
  readonly paths: Path[] = [];
  readonly #tokens: ReadonlyArray<Token>;
  readonly #scope: Type;
  #next = 0;
  #nodes = 0;
  #depth = 0;

  constructor(tokens: ReadonlyArray<Token>, scope: Type) {
    this.#tokens = tokens;
    this.#scope = scope;
  }

  whole(): Node {
    const node = this.#either();
    const rest = this.#peek();
    if (rest.kind !== "end") throw this.#fault(`"${rest.text}" is not expected here`);
    return node;
  }

  #peek(): Token {
    return this.#tokens[this.#next]!;
  }

  #fault(message: string, at = this.#peek().at): ExpressionFault {
    return new ExpressionFault(message, at);
  }

  /** Takes the next word or sign if it is one of these. */
  #take(...texts: ReadonlyArray<string>): string | undefined {
    const { kind, text } = this.#peek();
    if ((kind !== "word" && kind !== "sign") || !texts.includes(text)) return undefined;
    this.#next++;
    return text;
  }

  #must(text: string): void {
    if (this.#take(text) === undefined) throw this.#fault(`"${text}" is missing before "${this.#peek().text}"`);
  }

  #node(node: Node): Node {
    if (++this.#nodes > EXPRESSION.nodes) throw this.#fault(`has more than ${EXPRESSION.nodes} parts`);
    return node;
  }

  #deeper<A>(inner: () => A): A {
    if (++this.#depth > EXPRESSION.depth) throw this.#fault(`is nested deeper than ${EXPRESSION.depth}`);
    const found = inner();
    this.#depth--;
    return found;
  }

  #expect(node: Node, type: "boolean" | "number", at: number): Run {
    if (node.type.is !== type && node.type.is !== "any") {
      throw this.#fault(`a ${type} is needed here, not a ${node.type.is}`, at);
    }
    return node.run;
  }

  #either(): Node {
    return this.#chain(
      ["or"],
      () => this.#both(),
      (a, b) => (scope) => a(scope) === true || b(scope) === true,
    );
  }

  #both(): Node {
    return this.#chain(
      ["and"],
      () => this.#not(),
      (a, b) => (scope) => a(scope) === true && b(scope) === true,
    );
  }

  #chain(words: ReadonlyArray<string>, inner: () => Node, join: (a: Run, b: Run) => Run): Node {
    let at = this.#peek().at;
    let left = inner();
    while (this.#take(...words) !== undefined) {
      const a = this.#expect(left, "boolean", at);
      at = this.#peek().at;
      left = this.#node({ type: BOOLEAN, run: join(a, this.#expect(inner(), "boolean", at)) });
    }
    return left;
  }

  #not(): Node {
    if (this.#take("not") === undefined) return this.#comparison();
    const { at } = this.#peek();
    const inner = this.#deeper(() => this.#not());
    const run = this.#expect(inner, "boolean", at);
    return this.#node({ type: BOOLEAN, run: (scope) => run(scope) !== true });
  }

  #comparison(): Node {
    const { at } = this.#peek();
    const left = this.#sum();
    const sign = this.#take("==", "!=", "<", "<=", ">", ">=");
    if (sign !== undefined) return this.#compare(left, sign, at);
    const negated = this.#peek().text === "not" && this.#take("not") !== undefined;
    if (this.#take("in") !== undefined) return this.#within(left, negated, at);
    if (this.#take("matches") !== undefined) return this.#matches(left, negated, at);
    if (negated) throw this.#fault('"in" or "matches" is missing after "not"');
    return left;
  }

  #compare(left: Node, sign: string, at: number): Node {
    const right = this.#sum();
    const comparable = left.type.is === "any" || right.type.is === "any" || left.type.is === right.type.is;
    const order = ORDER[sign];
    const [a, b] = [left.run, right.run];
    if (order === undefined) {
      const nothing = left.type.is === "null" || right.type.is === "null";
      if (!comparable && !nothing) throw this.#fault(`a ${left.type.is} is never a ${right.type.is}`, at);
      return this.#node({ type: BOOLEAN, run: (scope) => same(a(scope), b(scope)) === (sign === "==") });
    }
    const ordered = [left, right].every(({ type }) => ["any", "string", "number"].includes(type.is));
    if (!comparable || !ordered) throw this.#fault(`a ${left.type.is} is not ${sign} a ${right.type.is}`, at);
    const run: Run = (scope) => {
      const [x, y] = [a(scope), b(scope)];
      return (typeof x === "number" || typeof x === "string") && typeof x === typeof y && order(x, y);
    };
    return this.#node({ type: BOOLEAN, run });
  }

  #within(left: Node, negated: boolean, at: number): Node {
    const { at: where } = this.#peek();
    const right = this.#sum();
    if (right.type.is !== "list" && right.type.is !== "any") throw this.#fault("a list is needed after `in`", where);
    if (right.type.is === "list") {
      const { of } = right.type;
      if (of.is !== "any" && left.type.is !== "any" && of.is !== left.type.is) {
        throw this.#fault(`a ${left.type.is} is never in a list of ${of.is}`, at);
      }
    }
    const [a, b] = [left.run, right.run];
    const run: Run = (scope) => {
      const [one, all] = [a(scope), b(scope)];
      return (Array.isArray(all) && all.some((other) => same(one, other))) !== negated;
    };
    return this.#node({ type: BOOLEAN, run });
  }

  #matches(left: Node, negated: boolean, at: number): Node {
    const { kind, value, at: where } = this.#peek();
    if (kind !== "string") throw this.#fault("a pattern in quotes is needed after `matches`", where);
    this.#next++;
    if (left.type.is !== "string" && left.type.is !== "any") throw this.#fault(`a ${left.type.is} matches nothing`, at);
    const pattern = String(value);
    if (pattern.length > EXPRESSION.pattern) {
      throw this.#fault(`a pattern has at most ${EXPRESSION.pattern} characters`, where);
    }
    const expression = compiled(pattern, where);
    const { run: of } = left;
    const run: Run = (scope) => {
      const text = of(scope);
      const found = typeof text === "string" && expression.matcher(text.slice(0, EXPRESSION.text)).find();
      return found !== negated;
    };
    return this.#node({ type: BOOLEAN, run });
  }

  #sum(): Node {
    return this.#arithmetic(["+", "-"], () => this.#arithmetic(["*", "/"], () => this.#unary()));
  }

  #arithmetic(signs: ReadonlyArray<string>, inner: () => Node): Node {
    let at = this.#peek().at;
    let left = inner();
    for (let sign = this.#take(...signs); sign !== undefined; sign = this.#take(...signs)) {
      const a = this.#expect(left, "number", at);
      at = this.#peek().at;
      const b = this.#expect(inner(), "number", at);
      const how = ARITHMETIC[sign]!;
      const run: Run = (scope) => {
        const [x, y] = [a(scope), b(scope)];
        const result = typeof x === "number" && typeof y === "number" ? how(x, y) : undefined;
        return Number.isFinite(result) ? result : undefined;
      };
      left = this.#node({ type: NUMBER, run });
    }
    return left;
  }

  #unary(): Node {
    const { at } = this.#peek();
    if (this.#take("-") === undefined) return this.#primary();
    const run = this.#expect(
      this.#deeper(() => this.#unary()),
      "number",
      at,
    );
    const negative: Run = (scope) => {
      const value = run(scope);
      return typeof value === "number" ? -value : undefined;
    };
    return this.#node({ type: NUMBER, run: negative });
  }

  #primary(): Node {
    const token = this.#peek();
    if (token.kind === "string" || token.kind === "number") {
      this.#next++;
      const { value } = token;
      return this.#node({ type: token.kind === "string" ? STRING : NUMBER, run: () => value, constant: value });
    }
    if (this.#take("(") !== undefined) {
      const inner = this.#deeper(() => this.#either());
      this.#must(")");
      return inner;
    }
    if (this.#take("[") !== undefined) return this.#list();
    if (token.kind !== "word")
      throw this.#fault(token.kind === "end" ? "ends too early" : `"${token.text}" is not expected here`);
    if (["and", "or", "not", "in", "matches"].includes(token.text))
      throw this.#fault(`"${token.text}" is not expected here`);
    this.#next++;
    const literal = LITERALS.get(token.text);
    if (literal !== undefined) return this.#node(literal);
    if (this.#peek().text === "(" && this.#peek().kind === "sign") return this.#call(token);
    return this.#node(this.#path(token));
  }

  #call({ text, at }: Token): Node {
    this.#must("(");
    if (text !== "exists" && text !== "size") {
      throw this.#fault(`there is no function "${text}"; there are exists and size`, at);
    }
    const inner = this.#deeper(() => this.#either());
    this.#must(")");
    const { run: of, path } = inner;
    if (text === "exists") {
      if (path === undefined) throw this.#fault("`exists` takes a path", at);
      return this.#node({ type: BOOLEAN, run: (scope) => !isNothing(of(scope)) });
    }
    if (!["list", "string", "any"].includes(inner.type.is)) throw this.#fault(`a ${inner.type.is} has no size`, at);
    const run: Run = (scope) => {
      const value = of(scope);
      return typeof value === "string" || Array.isArray(value) ? value.length : undefined;
    };
    return this.#node({ type: NUMBER, run });
  }

  #list(): Node {
    const items: Node[] = [];
    while (this.#take("]") === undefined) {
      if (items.length > 0) this.#must(",");
      const { at } = this.#peek();
      const item = this.#deeper(() => this.#unary());
      if (
        item.constant === undefined &&
        item.type.is !== "number" &&
        item.type.is !== "null" &&
        item.type.is !== "boolean"
      ) {
        throw this.#fault("a list holds texts and numbers", at);
      }
      items.push(item);
      if (items.length > EXPRESSION.list) throw this.#fault(`a list has at most ${EXPRESSION.list} members`);
    }
    const runs = items.map(({ run }) => run);
    const kinds = new Set(items.map(({ type }) => type.is));
    const of = kinds.size === 1 ? items[0]!.type : ANY;
    const fixed = items.every(({ constant }) => constant !== undefined)
      ? items.map(({ constant }) => constant)
      : undefined;
    const run: Run = fixed === undefined ? (scope) => runs.map((one) => one(scope)) : () => fixed;
    return this.#node({ type: { is: "list", of }, run });
  }

  #path(first: Token): Node {
    const path: (string | number)[] = [first.text];
    for (;;) {
      if (this.#take(".") !== undefined) {
        const { kind, text } = this.#peek();
        if (kind !== "word") throw this.#fault("a name is missing after the dot");
        path.push(text);
      } else if (this.#take("[") !== undefined) {
        const { kind, value } = this.#peek();
        if (kind !== "string" && kind !== "number") throw this.#fault("a number or a name in quotes is missing in []");
        path.push(value as string | number);
        this.#next++;
        this.#must("]");
        continue;
      } else break;
      this.#next++;
    }
    const type = typeAt(this.#scope, path);
    if ("fault" in type) throw this.#fault(type.fault, first.at);
    this.paths.push(path);
    return { type, path, run: (scope) => valueAt(scope, path) };
  }
}

const LITERALS: ReadonlyMap<string, Node> = new Map([
  ["true", { type: BOOLEAN, run: () => true, constant: true }],
  ["false", { type: BOOLEAN, run: () => false, constant: false }],
  ["null", { type: { is: "null" }, run: () => null }],
]);

/** Linear to match, whatever it is given. */
function compiled(pattern: string, at: number): RE2JS {
  try {
    return RE2JS.compile(pattern);
  } catch (error) {
    throw new ExpressionFault(`is no pattern of RE2: ${String((error as Error).message).slice(0, 200)}`, at);
  }
}
