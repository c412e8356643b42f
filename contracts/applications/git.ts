/**
 * What may be handed to Git and to a file system. Each function says what is wrong with a text, in words for whoever
 * wrote it, or undefined. Nothing here may be taken for an option, lead out of a repository, or carry a secret.
 */

/** Printable ASCII without what shells, Git and URLs make something of. */
const PLAIN_URL = /^[\x21-\x7e]+$/;
const URL_MOST = 2_048;

/** `user@host:path`, as OpenSSH has it. Each part is matched apart, so that it stays linear. */
const SCP_USER = /^[A-Za-z0-9_][A-Za-z0-9_.-]{0,63}$/;
const HOST_LABELS = /^[A-Za-z0-9]([A-Za-z0-9.-]{0,251}[A-Za-z0-9])?$/;

const FORMS = "one of https://host/path, http://host/path, ssh://user@host/path, git://host/path, user@host:path";

/** A place that Git clones from, over the network. */
export function repositoryFault(text: string): string | undefined {
  if (text.length === 0 || text.length > URL_MOST) return `1 to ${URL_MOST} characters`;
  if (!PLAIN_URL.test(text)) return "no white space, control characters or letters beyond ASCII";
  if (text.startsWith("-")) return "must not begin with a hyphen";
  const scheme = /^([A-Za-z][A-Za-z0-9+.-]*):\/\//.exec(text)?.[1]?.toLowerCase();
  if (scheme === undefined) return scpFault(text);
  if (scheme === "file") return "a repository on the node's own disk is named by its path, with kind `path`";
  if (!["http", "https", "ssh", "git"].includes(scheme)) return FORMS;
  let url: URL;
  try {
    url = new URL(text);
  } catch {
    return FORMS;
  }
  // A token often stands as the user; only SSH's user is no secret.
  if (url.password !== "" || (url.username !== "" && scheme !== "ssh")) {
    return "must not hold credentials: store them as a secret, and name it in `credentials`";
  }
  if (scheme === "ssh" && url.username !== "" && !SCP_USER.test(url.username)) return "is no user name before the @";
  if (text.includes("?") || text.includes("#")) return "must have no query and no fragment";
  if (!/^(\[[0-9a-fA-F:.]+\]|[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?)$/.test(url.hostname)) return "has no host name";
  if (url.pathname.length < 2) return "has no path behind the host";
  if (/^\/+-/.test(url.pathname)) return "must not have a path that begins with a hyphen";
  return undefined;
}

function scpFault(text: string): string | undefined {
  const colon = text.indexOf(":");
  const at = text.indexOf("@");
  if (at < 1 || colon < at) return FORMS;
  const [user, host, path] = [text.slice(0, at), text.slice(at + 1, colon), text.slice(colon + 1)];
  if (!SCP_USER.test(user) || !HOST_LABELS.test(host)) return FORMS;
  if (path === "" || path.startsWith(":") || /^[/~]*-/.test(path)) return FORMS;
  return undefined;
}

/** Whether an address is plain, so that what passes over it can be read on the way. */
export const isUnencrypted = (url: string): boolean => /^(http|git):\/\//i.test(url);

/** What no part of a ref may contain, by `git check-ref-format`. */
// biome-ignore lint/suspicious/noControlCharactersInRegex: that is what it is about
const REF_FORBIDDEN = /[\x00-\x20\x7f~^:?*[\\]/;

/** A branch, a tag, a full ref or a commit. */
export function refFault(text: string): string | undefined {
  if (text.length === 0 || text.length > 250) return "1 to 250 characters";
  if (text.startsWith("-")) return "must not begin with a hyphen";
  if (REF_FORBIDDEN.test(text) || /\p{Cs}/u.test(text)) {
    return "no white space, control characters or any of ~ ^ : ? * [ \\";
  }
  if (text.includes("..") || text.includes("@{") || text.includes("//")) return "must not contain `..`, `@{` or `//`";
  if (text === "@" || text.startsWith("/") || text.endsWith("/") || text.endsWith(".")) {
    return "must not be `@`, begin with a slash, or end with a slash or a dot";
  }
  const bad = text.split("/").find((part) => part.startsWith(".") || part.endsWith(".lock"));
  return bad === undefined ? undefined : "no part of it may begin with a dot or end with `.lock`";
}

// biome-ignore lint/suspicious/noControlCharactersInRegex: that is what it is about
const CONTROL = /[\x00-\x1f\x7f]|\p{Cs}/u;

/** A path inside a repository. */
export function repositoryPathFault(text: string): string | undefined {
  if (text.length === 0 || text.length > 1_024) return "1 to 1024 characters";
  if (CONTROL.test(text) || text.includes("\\")) return "no control characters and no backslashes";
  if (text.startsWith("/")) return "must be relative to the repository's root";
  if (text.startsWith("-")) return "must not begin with a hyphen";
  if (text === ".") return undefined;
  for (const part of text.split("/")) {
    if (part === "..") return "must not lead out with `..`";
    if (part === "" || part === ".") return "must have no empty parts and no `.` in it";
    if (part.toLowerCase() === ".git") return "must not lead into `.git`";
  }
  return undefined;
}

/** A path on a node's disk. */
export function serverPathFault(text: string): string | undefined {
  if (text.length < 2 || text.length > 1_024) return "2 to 1024 characters";
  if (CONTROL.test(text)) return "no control characters";
  if (!text.startsWith("/")) return "must be absolute";
  const parts = text.slice(1).replace(/\/$/, "").split("/");
  if (parts.some((part) => part === "" || part === "." || part === ".."))
    return "must have no empty parts, `.` or `..` in it";
  return undefined;
}

/** A host name in lower case; `localhost` and other single labels too, addresses not. */
export function hostFault(text: string): string | undefined {
  if (text.length === 0 || text.length > 253) return "1 to 253 characters";
  if (!/^[a-z0-9.-]+$/.test(text)) return "lower-case letters, digits, hyphens and dots";
  const labels = text.split(".");
  if (labels.some((label) => label === "" || label.length > 63 || label.startsWith("-") || label.endsWith("-"))) {
    return "each part has 1 to 63 characters, not beginning or ending with a hyphen";
  }
  if (/^[0-9]+$/.test(labels[labels.length - 1]!)) return "must be a name, not an address";
  return undefined;
}
