/** Whether what people typed is within the limits: the same for the API and for whoever else issues commands. */
import { bytesOf, isDay, LIMITS, PATTERNS } from "@millrace/contracts/work/values.ts";
import { Faults, says } from "../faults.ts";

export const title = says(
  (value) => PATTERNS.title.test(value),
  `one line of 1 to ${LIMITS.title} characters without control characters, not beginning with white space`,
);
export const lineText = says(
  (value) => PATTERNS.lineText.test(value),
  `one line of 1 to ${LIMITS.lineText} characters without control characters, not beginning with white space`,
);
export const longText = says(
  (value) => PATTERNS.text.test(value) && bytesOf(value) <= LIMITS.textBytes,
  `text of at most ${LIMITS.textBytes} bytes without control characters`,
);
export const commentText = says(
  (value) => value.length > 0 && PATTERNS.text.test(value) && bytesOf(value) <= LIMITS.commentBytes,
  `text of 1 to ${LIMITS.commentBytes} bytes without control characters`,
);
export const file = says(
  (value) => PATTERNS.file.test(value),
  "the name of a file: 1 to 255 characters on one line, without slashes, not beginning with white space",
);
export const mediaType = says((value) => PATTERNS.mediaType.test(value), "a media type like `image/jpeg`");
export const reason = says(
  (value) => value.trim() !== "" && value.length <= LIMITS.reason && PATTERNS.text.test(value),
  `a reason of 1 to ${LIMITS.reason} characters`,
);
export const label = says(
  (value) => PATTERNS.label.test(value),
  "lower-case letters, digits, hyphens, dots and slashes; at most 63, beginning with a letter or digit",
);
export const assignee = says(
  (value) => PATTERNS.assignee.test(value),
  "lower-case letters, digits and `._@-`; at most 64, beginning with a letter or digit",
);
export const name = says(
  (value) => PATTERNS.name.test(value),
  "lower-case letters, digits and hyphens; at most 63, beginning with a letter or digit",
);
export const commit = says((value) => PATTERNS.commit.test(value), "7 to 64 hexadecimal digits in lower case");
export const day = says(isDay, "a day of the calendar as YYYY-MM-DD");

export { Faults };
