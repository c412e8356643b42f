/** The settings of backups: where they go, how often, for how long. */
import { backupPlace, flag, path, text, whole } from "./setting-values.ts";
import type { Declaration } from "./settings.ts";

export const backupDeclarations = {
  backupTarget: {
    env: "MILLRACE_BACKUP_TARGET",
    key: "backup.target",
    read: backupPlace,
    fallback: undefined,
    meaning: "where backups go: a folder, or s3://bucket/prefix?endpoint=https://…&region=…; none are made unless set",
  },
  backupHours: {
    env: "MILLRACE_BACKUP_HOURS",
    key: "backup.hours",
    read: whole(1, 720),
    fallback: undefined,
    meaning: "hours from one backup to the next; 24 unless set",
  },
  backupDaily: {
    env: "MILLRACE_BACKUP_DAILY",
    key: "backup.daily",
    read: whole(0, 366),
    fallback: undefined,
    meaning: "days of which the newest backup is kept; 7 unless set",
  },
  backupWeekly: {
    env: "MILLRACE_BACKUP_WEEKLY",
    key: "backup.weekly",
    read: whole(0, 520),
    fallback: undefined,
    meaning: "weeks of which the newest backup is kept; 5 unless set",
  },
  backupMonthly: {
    env: "MILLRACE_BACKUP_MONTHLY",
    key: "backup.monthly",
    read: whole(0, 240),
    fallback: undefined,
    meaning: "months of which the newest backup is kept; 12 unless set",
  },
  backupKeysDays: {
    env: "MILLRACE_BACKUP_KEYS_DAYS",
    key: "backup.keys_days",
    read: whole(1, 366),
    fallback: undefined,
    meaning:
      "days that copies of data keys are kept: so long after it an erasure has reached the backups; 7 unless set",
  },
  backupLines: {
    env: "MILLRACE_BACKUP_LINES",
    key: "backup.lines",
    read: flag,
    fallback: "false",
    meaning: "whether backups hold log lines and measurements too",
  },
  backupKeyFile: {
    env: "MILLRACE_BACKUP_KEY_FILE",
    key: "backup.key_file",
    read: path,
    fallback: undefined,
    meaning: "the key that encrypts backups; default secrets/backup.key in the data folder",
  },
  backupS3AccessKey: {
    env: "MILLRACE_BACKUP_S3_ACCESS_KEY",
    key: "backup.s3_access_key",
    read: text,
    fallback: undefined,
    secret: true,
    meaning: "access key for the bucket",
  },
  backupS3SecretKey: {
    env: "MILLRACE_BACKUP_S3_SECRET_KEY",
    key: "backup.s3_secret_key",
    read: text,
    fallback: undefined,
    secret: true,
    meaning: "its secret",
  },
  webhookAllow: {
    env: "MILLRACE_WEBHOOK_ALLOW",
    key: "webhooks.allow",
    read: text,
    fallback: undefined,
    meaning:
      "private addresses that webhooks may lead to, as ranges (192.168.1.0/24) separated by commas; none unless set",
  },
  outgoingCa: {
    env: "MILLRACE_OUTGOING_CA",
    key: "webhooks.ca",
    read: text,
    fallback: undefined,
    meaning:
      "authorities believed of webhooks' and channels' receivers beside the public ones: system, or files in PEM separated by commas",
  },
} as const satisfies Record<string, Declaration<unknown>>;
