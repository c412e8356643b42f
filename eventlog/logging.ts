/**
 * Structured logs: one JSON object a line with `time`, `level`, `service`, `msg`, and `requestId` and `traceId` where
 * there are any. Secrets are taken out of the finished line, wherever in it they stand: fields that are named
 * like a secret, and text that looks like one (our tokens, Authorization values, user and password in addresses).
 */
import { type DestinationStream, destination, type Logger as PinoLogger, pino, stdTimeFunctions } from "pino";
import { activeTraceId } from "./tracing.ts";

export type Logger = PinoLogger;

export const LEVELS = ["trace", "debug", "info", "warn", "error", "fatal", "silent"] as const;
export type Level = (typeof LEVELS)[number];

export const REDACTED = "[redacted]";

/** The last word of a field's name, written in any case. `secretId` and `tokenCount` are no secrets; `clientSecret` is. */
const SECRET_NAME =
  /(?:password|passwd|passphrase|secret|token|authorization|cookie|credentials?|(?:api|private|master|data|access|signing|session|encryption)keys?|^keys?|^pass|^pwd)$/;

const secretName = (name: string): boolean => SECRET_NAME.test(name.toLowerCase().replaceAll(/[-_.]/g, ""));

/** Text that is a secret by its looks; each keeps what is harmless of it. */
const SECRET_TEXT: ReadonlyArray<readonly [RegExp, string]> = [
  [/\bmr[a-z]_[0-9A-Za-z_-]{8,}/g, REDACTED],
  [/\b(Bearer|Basic|Digest)\s+[0-9A-Za-z+/=._~-]{6,}/gi, `$1 ${REDACTED}`],
  // A slash is not allowed in a password there, but generated ones are pasted as they are.
  [/([a-z][a-z0-9+.-]*:\/\/)[^/\s:@"]*:[^\s@"]+@/gi, `$1${REDACTED}@`],
  [/-----BEGIN [A-Z ]*PRIVATE KEY-----[\s\S]*?(?:-----END [A-Z ]*PRIVATE KEY-----|$)/g, REDACTED],
  [
    /\b((?:[\w-]*(?:password|passwd|passphrase|secret|token|api_?key))["']?\s*[=:]\s*["']?)[^\s"'&,;}]+/gi,
    `$1${REDACTED}`,
  ],
];

/** Whether a line needs a closer look at all: most do not, and cost one pass. */
const SUSPICIOUS = /pass|pwd|secret|token|auth|cookie|credential|key|mr[a-z]_|bearer|basic|digest|:\/\/[^\s"]*@/i;

export function redactText(text: string): string {
  let clean = text;
  for (const [pattern, replacement] of SECRET_TEXT) clean = clean.replace(pattern, replacement);
  return clean;
}

function redactValue(value: unknown): unknown {
  if (typeof value === "string") return redactText(value);
  if (Array.isArray(value)) return value.map(redactValue);
  if (typeof value !== "object" || value === null) return value;
  return Object.fromEntries(
    Object.entries(value).map(([name, inner]) => [
      name,
      secretName(name) && (typeof inner === "string" || (typeof inner === "object" && inner !== null))
        ? REDACTED
        : redactValue(inner),
    ]),
  );
}

/** A finished log line without its secrets. A line that is no JSON is cleaned as text. */
export function redactLine(line: string): string {
  if (!SUSPICIOUS.test(line)) return line;
  try {
    return `${JSON.stringify(redactValue(JSON.parse(line)))}\n`;
  } catch {
    return redactText(line);
  }
}

export interface LogSettings {
  readonly service: string;
  /** Default: `MILLRACE_LOG_LEVEL`, else info. */
  readonly level?: Level;
  /** Default: standard output, written at once, so that the last words of a dying process are kept. */
  readonly stream?: DestinationStream;
}

/**
 * @throws TypeError when `MILLRACE_LOG_LEVEL` is none of `LEVELS`
 */
export function makeLogger(settings: LogSettings): Logger {
  const level = settings.level ?? process.env.MILLRACE_LOG_LEVEL ?? "info";
  if (!(LEVELS as ReadonlyArray<string>).includes(level)) {
    throw new TypeError(`MILLRACE_LOG_LEVEL is not one of ${LEVELS.join(", ")}`);
  }
  return pino(
    {
      level,
      base: { service: settings.service },
      timestamp: stdTimeFunctions.isoTime,
      messageKey: "msg",
      formatters: { level: (label) => ({ level: label }) },
      serializers: { err: describeError, error: describeError },
      mixin: () => {
        const traceId = activeTraceId();
        return traceId === undefined ? {} : { traceId };
      },
      // A field given by hand wins over the one of the span at hand.
      mixinMergeStrategy: (given, mixed) => ({ ...mixed, ...given }),
      hooks: { streamWrite: redactLine },
    },
    settings.stream ?? standardOutput(),
  );
}

function standardOutput(): DestinationStream {
  const output = destination({ dest: 1, sync: true });
  // Whoever read our lines is gone; that is no reason to stop working, nor can it be told to anybody.
  output.on("error", () => {});
  return output;
}

/** An error with its causes and the fields of tagged ones, five deep. */
export function describeError(error: unknown, depth = 0): unknown {
  if (!(error instanceof Error)) return error;
  const { name, message, stack, cause, ...fields } = error as Error & { cause?: unknown };
  return {
    ...fields,
    type: "_tag" in error ? error._tag : error.name,
    message: error.message,
    stack: error.stack,
    ...(error.cause === undefined || depth >= 5 ? {} : { cause: describeError(error.cause, depth + 1) }),
  };
}
