/**
 * The level of a line: what its JSON or logfmt says in `level`, `severity` or `lvl`, else a level's name where loggers
 * write it, in capitals or in brackets or before a colon. That it came by stderr says nothing: many programs write all there.
 */
/** From the least to the gravest. */
export const LEVELS = ["trace", "debug", "info", "warn", "error", "fatal"] as const;
export type Level = (typeof LEVELS)[number];

const NAMES: Readonly<Record<string, Level>> = {
  trace: "trace",
  verbose: "trace",
  silly: "trace",
  finest: "trace",
  debug: "debug",
  dbg: "debug",
  fine: "debug",
  info: "info",
  information: "info",
  informational: "info",
  notice: "info",
  log: "info",
  warn: "warn",
  warning: "warn",
  wrn: "warn",
  err: "error",
  error: "error",
  severe: "error",
  fail: "error",
  crit: "fatal",
  critical: "fatal",
  fatal: "fatal",
  panic: "fatal",
  alert: "fatal",
  emerg: "fatal",
  emergency: "fatal",
};

/** As pino and bunyan count: ten a step. */
const NUMBERS: ReadonlyArray<Level> = ["trace", "trace", "debug", "info", "warn", "error", "fatal"];

/** Where a level may stand; what comes later is the message's own words. */
const HEAD = 256;
const JSON_HEAD = 2_048;
const IN_JSON = /"(?:log\.)?(?:level|severity|lvl|levelname|@l)"\s*:\s*(?:"([A-Za-z]{3,13})"|(\d{1,2})\b)/;
/** Capitals count anywhere, small letters only where loggers put them: "no error" is none. */
const IN_TEXT =
  /(?:^|[\s,;])(?:level|severity|lvl)="?([A-Za-z]{3,13})\b|(?<![A-Za-z0-9_])(TRACE|DEBUG|INFO|NOTICE|WARN(?:ING)?|ERR(?:OR)?|SEVERE|CRIT(?:ICAL)?|FATAL|PANIC|ALERT|EMERG)(?![A-Za-z0-9_])|[[<(](trace|debug|info|notice|warn(?:ing)?|err(?:or)?|crit(?:ical)?|fatal|panic|alert|emerg)[\])>]|(?:^|\s)(debug|info|notice|warn(?:ing)?|[A-Za-z]*[Ee]rror|fatal|panic)(?:: |\[)/;

/** @param text without colours */
export function levelOf(text: string): Level | undefined {
  if (text.charCodeAt(0) === 0x7b) {
    const found = IN_JSON.exec(text.length > JSON_HEAD ? text.slice(0, JSON_HEAD) : text);
    if (found !== null) return found[1] === undefined ? NUMBERS[Number(found[2]) / 10] : NAMES[found[1].toLowerCase()];
  }
  const found = IN_TEXT.exec(text.length > HEAD ? text.slice(0, HEAD) : text);
  if (found === null) return undefined;
  const word = (found[1] ?? found[2] ?? found[3] ?? found[4])!.toLowerCase();
  // `TypeError: …` and its like.
  return NAMES[word] ?? (word.endsWith("error") ? "error" : undefined);
}
