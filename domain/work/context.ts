/** The work context: what people have decided to do, and how it goes on. */
import type { ContextDeclaration } from "../kind.ts";
import { item } from "./item.ts";
import { type } from "./type.ts";

export const work: ContextDeclaration = { name: "work", kinds: { item, type } };
