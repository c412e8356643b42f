/** What git and its helpers say when they fail, and what it means for the reader. */
import { cancelled, diskFailure, type Failed, type Failure, fail } from "../outcome.ts";
import type { Ended } from "../run-command.ts";

/** Most that is kept of one line of git's for people. */
const shownBytes = 400;

type Sign = readonly [pattern: RegExp, kind: Failure["class"], code: string, message: string, fix: string];

const look = "Check the URL, and that the repository is there.";
const giveCredentials =
  "Name a secret with a token (or an SSH key and an ssh URL) that may read it as the source's credentials.";

/** What git and its helpers say (LC_ALL=C), and what it means; the first that fits. */
const signs: readonly Sign[] = [
  [
    /failed to execute git|git: not found/,
    "permanent",
    "GIT_MISSING",
    "There is no git on this machine.",
    "apt-get install -y git",
  ],
  [
    /transport '.*' not allowed/,
    "permanent",
    "URL_REFUSED",
    "The repository uses a protocol that is not allowed.",
    "Use https, http, ssh or git.",
  ],
  [
    /cannot run ssh|ssh: not found/,
    "permanent",
    "SSH_MISSING",
    "There is no ssh on this machine.",
    "apt-get install -y openssh-client",
  ],
  [
    /could not read (Username|Password)|terminal prompts disabled/,
    "permanent",
    "CREDENTIALS_NEEDED",
    "The repository asks for a password, or it is not there.",
    giveCredentials,
  ],
  [
    /Authentication failed|Access denied|returned error: 40[13]/,
    "permanent",
    "CREDENTIALS_REFUSED",
    "The repository refuses the credentials.",
    "Renew the secret that the source names: it may have expired, or lack the right to read.",
  ],
  [
    /No \S+ host key is known for/,
    "permanent",
    "HOST_KEY_UNKNOWN",
    "The host's key is not among those that were given (MILLRACE_KNOWN_HOSTS).",
    "Get the key (`ssh-keyscan`), compare its fingerprint with what the host's owner says, and add its line to that file.",
  ],
  [
    /REMOTE HOST IDENTIFICATION HAS CHANGED|Host key verification failed/,
    "permanent",
    "HOST_KEY_CHANGED",
    "The host's key is not the one it had before.",
    "Make sure that this is right; then remove the host's line from known_hosts in the node's folder, or correct it in the file of MILLRACE_KNOWN_HOSTS.",
  ],
  [
    /Load key .*(invalid|error in|incorrect|bad permissions)/,
    "permanent",
    "SSH_KEY_INVALID",
    "The secret is no private SSH key without passphrase.",
    "Store the whole private key, from BEGIN to END, without a passphrase.",
  ],
  [
    /Permission denied \(|Too many authentication failures/,
    "permanent",
    "CREDENTIALS_REFUSED",
    "The repository's host refuses the SSH key.",
    "Add the public key to the repository (a deploy key), or name another secret.",
  ],
  [
    /Could not resolve host|Name or service not known|name resolution|No address associated/i,
    "transient",
    "HOST_UNKNOWN",
    "The name of the repository's host is not known.",
    look,
  ],
  [
    /Operation too slow|Timeout was reached|timed out/i,
    "timeout",
    "REMOTE_TIMEOUT",
    "The repository's host did not answer in time.",
    "It is tried again; look at the host, or at the network between.",
  ],
  [
    /Connection refused|Failed to connect|Couldn't connect|unreachable|No route to host|unable to connect/i,
    "transient",
    "REMOTE_UNREACHABLE",
    "The repository's host cannot be reached.",
    look,
  ],
  [
    /SSL certificate|server certificate|certificate (verif|has)|self.signed|issuer cert/i,
    "permanent",
    "TLS_UNTRUSTED",
    "The certificate of the repository's host is not trusted.",
    "Install its authority on this machine, or set SSL_CERT_FILE.",
  ],
  [
    /does not support shallow|shallow (file|update) |dumb http/i,
    "permanent",
    "SHALLOW_REFUSED",
    "The repository gives nothing but the whole of it.",
    "Serve it by a Git server with the smart protocol.",
  ],
  [
    /not our ref|unadvertised object|couldn't find remote ref|no such remote ref/i,
    "permanent",
    "COMMIT_NOT_FOUND",
    "The commit is not in the repository.",
    "Deploy a branch, a tag, or another commit.",
  ],
  [
    /returned error: 5\d\d|Empty reply|early EOF|disconnect|RPC failed|hung up|Connection reset|closed by|gnutls|SSL_ERROR|OpenSSL/i,
    "transient",
    "REMOTE_BROKE",
    "The connection to the repository broke.",
    "It is tried again.",
  ],
  [
    /not found|does not appear to be a git|is this a git repository|not a git repository|returned error: 4\d\d|access denied or repository not exported/i,
    "permanent",
    "NOT_A_REPOSITORY",
    "There is no Git repository at this address.",
    look,
  ],
  [
    /fsck|corrupt|bad object|invalid .*pack|unable to read tree/i,
    "permanent",
    "REPOSITORY_CORRUPT",
    "The repository holds broken objects.",
    "Run git fsck in it, and repair it.",
  ],
];

/** The failure that this end is; its text must hold no secret any more. */
export function gitFailure(ended: Ended): Failed {
  if (ended.why === "cancelled") return cancelled("Fetching the source");
  if (ended.why === "timeout") {
    const fix = "It is tried again; look at the repository's host, or at the network between.";
    return fail("timeout", "REMOTE_TIMEOUT", "The repository did not come within the time it has.", fix);
  }
  if (ended.why === "output") {
    return fail(
      "permanent",
      "REPOSITORY_TOO_LARGE",
      "The repository lists more than can be taken.",
      "Deploy from a smaller repository.",
    );
  }
  if (ended.notStarted === "ENOENT")
    return fail("permanent", "GIT_MISSING", "There is no git on this machine.", "apt-get install -y git");
  if (/No space left on device|Disk quota exceeded|unable to (write|create) file/.test(ended.stderr))
    return diskFailure(new Error(ended.stderr), "fetching the source");
  const lines = ended.stderr.split(/[\r\n]+/).filter((line) => line.trim() !== "" && !/\d% \(/.test(line));
  const said = (
    lines.find((line) => /^(fatal|error|ERROR|ssh)/.test(line)) ??
    lines.at(-1) ??
    `it ended with code ${ended.code}`
  ).slice(0, shownBytes);
  const sign = signs.find(([pattern]) => pattern.test(ended.stderr));
  if (sign) return fail(sign[1], sign[2], `${sign[3]} Git says: ${said}`, sign[4]);
  return fail("transient", "GIT_FAILED", `Git failed: ${said}`, "It is tried again; the log has all that git said.");
}
