/**
 * Headers of a message that is written: one value a name, as it is. The client's own look through all that are there at every `set`,
 * which was a quarter of what the relay did.
 */
import type { MsgHdrs } from "@nats-io/transport-node";

const encoder = new TextEncoder();

export class HeaderBlock {
  readonly #values = new Map<string, string>();

  /** @throws TypeError when the value would end the header */
  set(name: string, value: string): void {
    if (/[\r\n]/.test(value)) throw new TypeError(`the value of ${name} holds an end of line`);
    this.#values.set(name, value);
  }

  get(name: string): string {
    return this.#values.get(name) ?? "";
  }

  *[Symbol.iterator](): Iterator<[string, string[]]> {
    for (const [name, value] of this.#values) yield [name, [value]];
  }

  encode(): Uint8Array {
    let text = "NATS/1.0";
    for (const [name, value] of this.#values) text += `\r\n${name}: ${value}`;
    return encoder.encode(`${text}\r\n\r\n`);
  }

  /** For the client's `publish` and `request`, which ask for nothing but the bytes. */
  asHeaders(): MsgHdrs {
    return this as unknown as MsgHdrs;
  }
}
