/** Ids of what reactors make: named by what it is made for, so that whoever begins again after a death meets itself. */
import { createHash } from "node:crypto";
import { makeId } from "@millrace/contracts/ids.ts";

/** Always the same for the same. @param at RFC 3339: when what it is made for began */
export const madeId = (prefix: string, at: string, ...of: ReadonlyArray<string>): string =>
  makeId(prefix, Date.parse(at), createHash("sha256").update(of.join("\n")).digest());
