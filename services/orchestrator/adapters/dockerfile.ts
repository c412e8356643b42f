/** Which images a Dockerfile begins with, without building it. */

/**
 * The names in `FROM` and `COPY --from` that are images of a registry or of the engine: no stages, no `scratch`, and
 * arguments before the first FROM filled in. A name that cannot be known beforehand is left out: the build will say.
 */
export function baseNames(text: string, args: Readonly<Record<string, string>>): string[] {
  const known = new Map<string, string>();
  const stages = new Set<string>();
  const names = new Set<string>();
  for (const line of instructions(text)) {
    const argument = /^ARG\s+([A-Za-z_]\w*)(?:=(.*))?$/i.exec(line);
    // Only arguments before the first stage count in FROM.
    if (argument && stages.size === 0 && names.size === 0) {
      const [, name, fallback] = argument;
      const value = args[name!] ?? unquote(fallback ?? "");
      if (args[name!] !== undefined || fallback !== undefined) known.set(name!, fill(value, known) ?? "");
      continue;
    }
    const from = /^FROM\s+(?:--\S+\s+)*(\S+)(?:\s+AS\s+(\S+))?\s*$/i.exec(line);
    if (from) {
      add(fill(from[1]!, known));
      if (from[2]) stages.add(from[2].toLowerCase());
      continue;
    }
    const copied = /^COPY\s+(?:--\S+\s+)*--from=(\S+)\s/i.exec(line);
    if (copied && !/^\d+$/.test(copied[1]!)) add(copied[1]);
  }
  return [...names];

  function add(name: string | undefined): void {
    if (!name || name.includes("$") || name.toLowerCase() === "scratch" || stages.has(name.toLowerCase())) return;
    names.add(name);
  }
}

/** Each instruction as one line: comments dropped, continued lines joined. */
function instructions(text: string): string[] {
  const joiner = /^#\s*escape=`\s*$/m.test(text) ? "`" : "\\";
  const whole: string[] = [];
  let open = "";
  for (const raw of text.split(/\r?\n/)) {
    if (/^\s*#/.test(raw)) continue;
    const line = raw.trim();
    if (line.endsWith(joiner)) {
      open += `${line.slice(0, -1)} `;
      continue;
    }
    if (open + line !== "") whole.push((open + line).trim());
    open = "";
  }
  if (open !== "") whole.push(open.trim());
  return whole;
}

function unquote(text: string): string {
  return /^(["'])(.*)\1$/.exec(text.trim())?.[2] ?? text.trim();
}

/** `$NAME`, `${NAME}`, `${NAME:-default}`, `${NAME:+other}`; undefined when a name has no value. */
function fill(text: string, known: ReadonlyMap<string, string>): string | undefined {
  let missing = false;
  const filled = text.replace(
    /\$(?:\{([A-Za-z_]\w*)(?::([-+])([^}]*))?\}|([A-Za-z_]\w*))/g,
    (_, braced, operator, other, bare) => {
      const value = known.get(braced ?? bare);
      if (operator === "-") return value || other;
      if (operator === "+") return value ? other : "";
      if (value === undefined) missing = true;
      return value ?? "";
    },
  );
  return missing ? undefined : filled;
}
