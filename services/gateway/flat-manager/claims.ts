/** What a token of flat-manager says of itself, and what follows from it: pure rules, in flat-manager's words. */
import { type AppLimit, coversId } from "@millrace/domain/publishing/app-limit.ts";

export interface Claims {
  readonly sub: string;
  /** Seconds since 1970. */
  readonly exp: number;
  readonly name?: string;
  readonly jti?: string;
  readonly scope: ReadonlyArray<string>;
  /** Of applications' ids: `[]` or `[""]` is all. */
  readonly prefixes: ReadonlyArray<string>;
  /** Exact ids, beside the prefixes. */
  readonly apps: ReadonlyArray<string>;
  /** `[""]` is all, `[]` none. */
  readonly repos: ReadonlyArray<string>;
  /** Recorded, not enforced. */
  readonly branches?: ReadonlyArray<string>;
  readonly token_type?: string;
}

const isText = (value: unknown): value is string => typeof value === "string";
const isTexts = (value: unknown): value is string[] => Array.isArray(value) && value.every(isText);
const LISTS = ["scope", "prefixes", "apps", "repos", "branches"] as const;

/** From what was signed; what is not known is passed over. @returns undefined for what cannot be claims */
export function claimsOf(raw: Record<string, unknown> | undefined): Claims | undefined {
  if (raw === undefined) return undefined;
  const { sub, exp, name, jti, token_type: type } = raw;
  if (!isText(sub) || typeof exp !== "number" || !Number.isFinite(exp)) return undefined;
  for (const optional of [name, jti, type])
    if (optional !== undefined && optional !== null && !isText(optional)) return undefined;
  if (LISTS.some((list) => raw[list] !== undefined && raw[list] !== null && !isTexts(raw[list]))) return undefined;
  const texts = (list: (typeof LISTS)[number]): string[] => (raw[list] as string[] | null | undefined) ?? [];
  return {
    sub,
    exp,
    ...(isText(name) ? { name } : {}),
    ...(isText(jti) ? { jti } : {}),
    scope: texts("scope"),
    prefixes: texts("prefixes"),
    apps: texts("apps"),
    repos: texts("repos"),
    ...(isTexts(raw.branches) ? { branches: raw.branches } : {}),
    ...(isText(type) ? { token_type: type } : {}),
  };
}

/** Whether what is claimed satisfies what is required: `build` covers `build/7`; "" only itself. */
export const coversSubject = (claimed: string, required: string): boolean =>
  required === claimed || (required.startsWith(`${claimed}/`) && claimed !== "");

export const coversApp = ({ prefixes, apps }: Pick<Claims, "prefixes" | "apps">, id: string): boolean =>
  prefixes.length === 0 || prefixes.some((prefix) => coversId(prefix, id)) || apps.includes(id);

/** Of all applications, whatever their ids. */
export const coversEveryApp = ({ prefixes }: Pick<Claims, "prefixes">): boolean =>
  prefixes.length === 0 || prefixes.includes("");

/** What a token may read where it is for some applications only. */
export const limitsOf = (claims: Claims): ReadonlyArray<AppLimit> => (coversEveryApp(claims) ? [] : [claims]);

export const coversRepo = ({ repos }: Pick<Claims, "repos">, repo: string): boolean =>
  repos.some((claimed) => claimed === "" || claimed === repo);

export interface SubsetAsked {
  readonly name: string;
  readonly sub: string;
  readonly scope: ReadonlyArray<string>;
  /** Seconds. */
  readonly duration: number;
  readonly prefixes?: ReadonlyArray<string> | undefined;
  readonly apps?: ReadonlyArray<string> | undefined;
  readonly repos?: ReadonlyArray<string> | undefined;
}

/** A token that may do a part of what another may. @returns the new claims, or what is more than the other's */
export function subsetOf(claims: Claims, asked: SubsetAsked, nowSeconds: number): Claims | { readonly beyond: string } {
  const exp = nowSeconds + asked.duration;
  const prefixes = asked.prefixes ?? claims.prefixes;
  const apps = asked.apps ?? claims.apps;
  const repos = asked.repos ?? claims.repos;
  if (exp > claims.exp) return { beyond: "Unable to extend the token's life" };
  if (!coversSubject(claims.sub, asked.sub)) return { beyond: `The sub ${asked.sub} is not part of the token's` };
  const scope = asked.scope.find((one) => !claims.scope.includes(one));
  if (scope !== undefined) return { beyond: `The token has no scope ${scope}` };
  // None is all: what is less cannot give that.
  if (prefixes.length === 0 && !coversEveryApp(claims)) return { beyond: "The token is not for all applications" };
  // An exact id gives nothing of what lies below it, so only prefixes count.
  const prefix = prefixes.find((one) => !coversEveryApp(claims) && !claims.prefixes.some((own) => coversId(own, one)));
  if (prefix !== undefined) return { beyond: `The token is not for ${prefix === "" ? "all applications" : prefix}` };
  const app = apps.find((one) => !coversApp(claims, one));
  if (app !== undefined) return { beyond: `The token is not for ${app}` };
  const repo = repos.find((one) => !claims.repos.includes("") && !claims.repos.includes(one));
  if (repo !== undefined) return { beyond: `The token is not for the repository ${repo === "" ? "all" : repo}` };
  const { jti, branches, token_type: type } = claims;
  return {
    sub: asked.sub,
    exp,
    name: claims.name === undefined || claims.name === "" ? asked.name : `${claims.name}/${asked.name}`,
    ...(jti === undefined ? {} : { jti }),
    scope: asked.scope,
    prefixes,
    apps,
    repos,
    ...(branches === undefined ? {} : { branches }),
    ...(type === undefined ? {} : { token_type: type }),
  };
}
