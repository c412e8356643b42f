/** Settings of backups: where, how often, for how long. Without a target none are made. */
import { type ConfigOf, defineSettings, Flag, IntegerBetween, Text } from "../settings.ts";
import { type BackupKeys, parseBackupKeys } from "./keys.ts";
import { openTarget } from "./open-target.ts";
import { RETENTION, type Retention } from "./prune.ts";
import type { Target } from "./target.ts";

export const BACKUP_SETTINGS = defineSettings({
  backupTarget: {
    variable: "MILLRACE_BACKUP_TARGET",
    schema: Text,
    describe:
      "Where backups go: an absolute folder, or s3://bucket/prefix?endpoint=…&region=…; none are made unless set.",
    example: "/mnt/backups",
    optional: true,
  },
  backupKey: {
    variable: "MILLRACE_BACKUP_KEY",
    schema: Text,
    describe: "The key that encrypts backups: 32 bytes in base 64; older ones below it.",
    example: "…",
    optional: true,
    secret: true,
  },
  backupS3AccessKey: {
    variable: "MILLRACE_BACKUP_S3_ACCESS_KEY",
    schema: Text,
    describe: "Access key for the bucket.",
    example: "…",
    optional: true,
    secret: true,
  },
  backupS3SecretKey: {
    variable: "MILLRACE_BACKUP_S3_SECRET_KEY",
    schema: Text,
    describe: "Its secret.",
    example: "…",
    optional: true,
    secret: true,
  },
  backupHours: {
    variable: "MILLRACE_BACKUP_HOURS",
    schema: IntegerBetween(1, 720),
    describe: "Hours from one backup to the next.",
    example: "24",
    fallback: 24,
  },
  backupDaily: {
    variable: "MILLRACE_BACKUP_DAILY",
    schema: IntegerBetween(0, 366),
    describe: "Days of which the newest backup is kept.",
    example: "7",
    fallback: RETENTION.daily,
  },
  backupWeekly: {
    variable: "MILLRACE_BACKUP_WEEKLY",
    schema: IntegerBetween(0, 520),
    describe: "Weeks of which the newest backup is kept.",
    example: "5",
    fallback: RETENTION.weekly,
  },
  backupMonthly: {
    variable: "MILLRACE_BACKUP_MONTHLY",
    schema: IntegerBetween(0, 240),
    describe: "Months of which the newest backup is kept.",
    example: "12",
    fallback: RETENTION.monthly,
  },
  backupKeysDays: {
    variable: "MILLRACE_BACKUP_KEYS_DAYS",
    schema: IntegerBetween(1, 366),
    describe: "Days that copies of data keys are kept: so long after it an erasure has reached the backups.",
    example: "7",
    fallback: RETENTION.keysDays,
  },
  backupLines: {
    variable: "MILLRACE_BACKUP_LINES",
    schema: Flag,
    describe: "Whether backups hold log lines and measurements too.",
    example: "0",
    fallback: false,
  },
});

type Config = ConfigOf<typeof BACKUP_SETTINGS>;

export interface BackupPlace {
  readonly target: Target;
  readonly keys: BackupKeys;
  readonly retention: Retention;
}

/** @returns undefined when no target is set @throws TypeError that says what is missing or wrong */
export function backupPlaceOf(config: Config): BackupPlace | undefined {
  if (config.backupTarget === undefined) return undefined;
  if (config.backupKey === undefined) throw new TypeError("a backup needs its key: set MILLRACE_BACKUP_KEY_FILE");
  const { backupS3AccessKey: accessKey, backupS3SecretKey: secretKey } = config;
  return {
    target: openTarget(config.backupTarget, {
      ...(accessKey === undefined ? {} : { accessKey }),
      ...(secretKey === undefined ? {} : { secretKey }),
    }),
    keys: parseBackupKeys(config.backupKey),
    retention: {
      daily: config.backupDaily,
      weekly: config.backupWeekly,
      monthly: config.backupMonthly,
      keysDays: config.backupKeysDays,
    },
  };
}
