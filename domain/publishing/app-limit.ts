/** Which applications a token is for: rules that gateways and publishers share. */

export interface AppLimit {
  /** An id, and all below it: `org.example.App` covers `org.example.App.Locale`. "": all. */
  readonly prefixes: ReadonlyArray<string>;
  /** These ids and nothing below them. */
  readonly apps: ReadonlyArray<string>;
}

/** `org.foo` covers `org.foo` and `org.foo.Bar`, not `org.foobar`. */
export const coversId = (prefix: string, id: string): boolean =>
  prefix === "" || id === prefix || id.startsWith(`${prefix}.`);

/** Whether all limits let it through. */
export const withinLimits = (limits: ReadonlyArray<AppLimit>, id: string): boolean =>
  limits.every(({ prefixes, apps }) => apps.includes(id) || prefixes.some((prefix) => coversId(prefix, id)));

/** Id of the application or runtime that a reference is of; undefined for a catalogue and whatever else there is. */
export const idOfRef = (ref: string): string | undefined => /^(?:app|runtime)\/([^/]+)\//.exec(ref)?.[1];
