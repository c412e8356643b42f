/** What is wrong with an expression, and where. */
export class ExpressionFault extends Error {
  readonly at: number;
  constructor(message: string, at: number) {
    super(message);
    this.at = at;
  }
}
