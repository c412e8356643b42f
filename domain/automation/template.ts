/**
 * Templates in what a rule does: `{{path}}` in texts, and nothing else. A text that is only that takes the value as it is, a list or a
 * number too; anywhere else it becomes text.
 */
import { LIMITS } from "@millrace/contracts/automation/values.ts";
import type { FieldError } from "@millrace/contracts/problems.ts";
import { type Action, actionFaults } from "./actions.ts";
import { type Path, type Type, typeAt, valueAt } from "./types.ts";

const MARK = /\{\{(.*?)\}\}/gs;
const PATH = /^\s*[A-Za-z_][A-Za-z0-9_]*(\.[A-Za-z_][A-Za-z0-9_]*|\[\d{1,4}\]){0,19}\s*$/;
const DEPTH_MOST = 10;

const pathOf = (text: string): Path =>
  [...text.trim().matchAll(/([A-Za-z_][A-Za-z0-9_]*)|\[(\d+)\]/g)].map(([, name, index]) => name ?? Number(index));

const hasMark = (text: string): boolean => text.includes("{{");

/** Every text in it with its pointer. */
function* textsIn(value: unknown, pointer: string, depth = 0): Generator<readonly [pointer: string, text: string]> {
  if (typeof value === "string") yield [pointer, value];
  else if (typeof value === "object" && value !== null && depth < DEPTH_MOST) {
    for (const [name, inner] of Object.entries(value)) {
      yield* textsIn(inner, `${pointer}/${name.replaceAll("~", "~0").replaceAll("/", "~1")}`, depth + 1);
    }
  }
}

function templateFault(text: string, scope: Type): string | undefined {
  for (const [whole, inside] of text.matchAll(MARK)) {
    if (!PATH.test(inside!)) return `${whole.slice(0, 60)} is no path: a template holds {{path}}, and no code`;
    const type = typeAt(scope, pathOf(inside!));
    if ("fault" in type) return type.fault;
  }
  const rest = text.replaceAll(MARK, "");
  return rest.includes("{{") || rest.includes("}}") ? "has braces without their other half" : undefined;
}

/** What is wrong with commands and their templates. @param pointer e.g. `/commands` */
export function templateFaults(commands: ReadonlyArray<Action>, scope: Type, pointer: string): FieldError[] {
  return commands.flatMap((command, i) => {
    const at = `${pointer}/${i}`;
    const faults: FieldError[] = [];
    const marked: string[] = [];
    for (const [place, text] of textsIn({ on: command.on, body: command.body }, at)) {
      if (!hasMark(text) && !text.includes("}}")) continue;
      marked.push(place);
      const detail = templateFault(text, scope);
      if (detail !== undefined) faults.push({ pointer: place, detail });
    }
    // What stands in the place of a template is known, and checked, when it is done.
    const fixed = actionFaults(command, at).filter((one) => !marked.some((place) => one.pointer.startsWith(place)));
    return [...faults, ...fixed];
  });
}

/** Paths that commands take their values from. */
export const pathsIn = (commands: ReadonlyArray<Action>): Path[] =>
  [...textsIn(commands, "")].flatMap(([, text]) => [...text.matchAll(MARK)].map(([, inside]) => pathOf(inside!)));

/** Commands with their values; or which path leads to nothing this time. */
export function render(
  commands: ReadonlyArray<Action>,
  scope: object,
): { readonly commands: ReadonlyArray<Action> } | { readonly fault: string } {
  try {
    const made = commands.map((command) => fill(command, scope) as Action);
    if (JSON.stringify(made).length > LIMITS.commandsBytes) return { fault: "what it would do has become too large" };
    return { commands: made };
  } catch (error) {
    if (error instanceof Missing) return { fault: `{{${error.message}}} is not there` };
    throw error;
  }
}

class Missing extends Error {}

function fill(value: unknown, scope: object): unknown {
  if (typeof value === "string") return hasMark(value) ? filled(value, scope) : value;
  if (Array.isArray(value)) return value.map((one) => fill(one, scope));
  if (typeof value !== "object" || value === null) return value;
  return Object.fromEntries(Object.entries(value).map(([name, inner]) => [name, fill(inner, scope)]));
}

function filled(text: string, scope: object): unknown {
  const lookUp = (inside: string): unknown => {
    const value = valueAt(scope, pathOf(inside));
    if (value === undefined || value === null) throw new Missing(inside.trim());
    return value;
  };
  const alone = /^\{\{([^{}]*)\}\}$/.exec(text);
  if (alone !== null) return lookUp(alone[1]!);
  return text.replaceAll(MARK, (_, inside: string) => {
    const value = lookUp(inside);
    return typeof value === "string" ? value : JSON.stringify(value);
  });
}
