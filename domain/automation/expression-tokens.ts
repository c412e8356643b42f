/** Words, signs, texts and numbers of an expression. */
import { ExpressionFault } from "./expression-fault.ts";

export interface Token {
  readonly kind: "word" | "sign" | "string" | "number" | "end";
  readonly text: string;
  /** Of a text or number. */
  readonly value?: string | number;
  /** Place in the expression, from 0. */
  readonly at: number;
}

const TOKEN =
  /\s+|([A-Za-z_][A-Za-z0-9_]*)|(\d{1,15}(?:\.\d{1,15})?)|"((?:[^"\\]|\\.)*)"|'((?:[^'\\]|\\.)*)'|(==|!=|<=|>=|[<>()[\],.+\-*/])/y;

/** @throws ExpressionFault */
export function tokenise(text: string): Token[] {
  const tokens: Token[] = [];
  for (let at = 0; at < text.length; ) {
    TOKEN.lastIndex = at;
    const match = TOKEN.exec(text);
    if (match === null) throw new ExpressionFault(`${JSON.stringify(text.slice(at, at + 10))} is not understood`, at);
    const [whole, word, number, double, single, sign] = match;
    if (word !== undefined) tokens.push({ kind: "word", text: word, at });
    else if (number !== undefined) tokens.push({ kind: "number", text: number, value: Number(number), at });
    else if (sign !== undefined) tokens.push({ kind: "sign", text: sign, at });
    else if (double !== undefined || single !== undefined) {
      tokens.push({ kind: "string", text: whole, value: unescaped((double ?? single)!), at });
    }
    at += whole.length;
  }
  return [...tokens, { kind: "end", text: "the end", at: text.length }];
}

/** Before a quote or a backslash a backslash is taken off; before anything else it stays, so that patterns need not double it. */
const unescaped = (text: string): string => text.replaceAll(/\\(["'\\])/g, "$1");
