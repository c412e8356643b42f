/** What a build is asked with. */
import { SOURCE_FOLDER } from "@millrace/domain/publishing/manifest-walk.ts";
import type { Installation, Supply } from "./installation.ts";
import type { SandboxPlaces, ToolsEnvironment } from "./sandbox.ts";
import type { BuildLimits } from "./watch.ts";

export interface BuildAsked {
  readonly tools: ToolsEnvironment;
  /** Of the application and its architecture. */
  readonly folder: string;
  /** Of this build, within it: letters, digits, `_`, `-`. */
  readonly name: string;
  /** The source, whole; only read. */
  readonly source: string;
  /** Path of the manifest in it. */
  readonly manifest: string;
  readonly arch: string;
  /** Where the manifest names none. */
  readonly branch: string;
  /** What the id must be; undefined: whatever the manifest says. */
  readonly id?: string | undefined;
  readonly installation: Installation;
  /** The machine's installation, read only. */
  readonly system: string | undefined;
  readonly supplies: ReadonlyArray<Supply>;
  readonly limits: BuildLimits;
  readonly jobs: number;
  /** What all files of it seem to be made at, so that a second try gives the same. */
  readonly time: Date;
  /** Nothing of earlier builds is used. */
  readonly fresh?: boolean;
  readonly signal: AbortSignal;
  readonly onLine: (line: string) => void;
}

/** Where things of a build lie inside. */
export const placesOf = ({ folder, name, installation, system, source }: BuildAsked): SandboxPlaces => ({
  work: folder,
  data: installation.folder,
  system,
  readOnly: { [`/build/${name}/${SOURCE_FOLDER}`]: source },
});
