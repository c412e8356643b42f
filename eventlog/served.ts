/**
 * What the publisher of a node writes and its Caddy reads: the places on which the two agree. A repository is served as soon as its link is
 * here, and no longer when it is gone; Caddy's configuration stays as it is.
 *
 *     <data>/publisher/<node>/served/public/<id or name>   → the folder of a repository that everybody may read
 *     <data>/publisher/<node>/served/private/<id>          → … of one that is read with a token
 *     <data>/publisher/<node>/served/was-public/            links that were public before; Caddy reads none of them
 *     <data>/publisher/<node>/served/access.log            one line of JSON for each pull: what the statistics count
 *
 *     <folder>/repo        the OSTree repository
 *     <folder>/web         index.html, <name>.flatpakrepo, key.asc, key.gpg, <application>.flatpakref
 *     <folder>/snapshots/<snapshot>/   summary.idx, summaries, … of an earlier publication
 */
import { join, resolve } from "node:path";

export interface ServedPlaces {
  readonly folder: string;
  readonly public: string;
  readonly private: string;
  readonly accessLog: string;
}

/** @param data the folder with all state */
export function servedPlaces(data: string, node: string): ServedPlaces {
  const folder = join(resolve(data), "publisher", node, "served");
  return {
    folder,
    public: join(folder, "public"),
    private: join(folder, "private"),
    accessLog: join(folder, "access.log"),
  };
}

/** Where the gateway tells Caddy whether a request for a private repository is let through, and to which. */
export const ACCESS_PATH = "/publishing/access";
/** Header of that answer, as Caddy spells it: id of the repository. */
export const ACCESS_HEADER = "Millrace-Repository";
