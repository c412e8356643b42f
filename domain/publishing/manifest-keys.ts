/** Every key of flatpak-builder's manifests and what it takes, as documented (flatpak-manifest(5), up to 1.4). `x-…` keys are anybody's. */

/**
 * `text`: a string; `place`: a path inside the source; `name`: a path inside where it goes; `texts`: strings in a list; `whole`: a whole
 * number; `flag`: true or false; `environment`: names to values; else what stands in a table of its own.
 */
export type Takes =
  | "text"
  | "place"
  | "places"
  | "name"
  | "texts"
  | "whole"
  | "flag"
  | "environment"
  | "options"
  | "optionsByArch"
  | "modules"
  | "sources"
  | "extensions"
  | "refused";

type Table = Readonly<Record<string, Takes>>;

const each = (takes: Takes, names: string): Table =>
  Object.fromEntries(
    names
      .split(/\s+/)
      .filter(Boolean)
      .map((name) => [name, takes]),
  );

export const TOP_KEYS: Table = {
  ...each(
    "text",
    `id app-id branch default-branch collection-id extension-tag runtime runtime-version runtime-commit sdk sdk-commit var command
     id-platform base base-version base-commit rename-desktop-file rename-appdata-file rename-mime-file rename-mime-icons rename-icon
     appdata-license desktop-file-name-prefix desktop-file-name-suffix`,
  ),
  ...each("place", "metadata metadata-platform"),
  ...each(
    "flag",
    "build-runtime build-extension separate-locales writable-sdk appstream-compose copy-icon default-disable-updates",
  ),
  ...each("whole", "token-type source-date-epoch"),
  ...each(
    "texts",
    `sdk-extensions platform-extensions base-extensions inherit-extensions inherit-sdk-extensions tags cleanup cleanup-commands
     cleanup-platform cleanup-platform-commands prepare-platform-commands finish-args`,
  ),
  "build-options": "options",
  modules: "modules",
  "add-extensions": "extensions",
  "add-build-extensions": "extensions",
};

export const OPTIONS_KEYS: Table = {
  ...each(
    "text",
    `cflags cppflags cxxflags ldflags prefix libdir append-path prepend-path append-ld-library-path prepend-ld-library-path
     append-pkg-config-path prepend-pkg-config-path`,
  ),
  ...each(
    "flag",
    "cflags-override cppflags-override cxxflags-override ldflags-override strip no-debuginfo no-debuginfo-compression",
  ),
  ...each("texts", "config-opts make-args make-install-args"),
  ...each("refused", "build-args test-args secret-opts secret-env"),
  env: "environment",
  arch: "optionsByArch",
};

export const MODULE_KEYS: Table = {
  ...each("text", "install-rule test-rule buildsystem"),
  ...each("name", "name subdir"),
  ...each(
    "flag",
    `disabled rm-configure no-autogen no-parallel-make no-make-install no-python-timestamp-fix cmake builddir
     run-tests no-debuginfo`,
  ),
  ...each(
    "texts",
    `config-opts make-args make-install-args build-commands post-install cleanup ensure-writable only-arches skip-arches
     cleanup-platform test-commands license-files`,
  ),
  ...each("refused", "secret-opts secret-env"),
  "build-options": "options",
  modules: "modules",
  sources: "sources",
};

export const BUILD_SYSTEMS = ["autotools", "cmake", "cmake-ninja", "meson", "simple", "qmake"];

export const EXTENSION_KEYS: Table = {
  ...each("text", `version versions subdirectory-suffix add-ld-path download-if enable-if merge-dirs autoprune-unless`),
  directory: "name",
  ...each("flag", "bundle remove-after-build autodelete no-autodownload locale-subset subdirectories"),
};

const COMMON: Table = { type: "text", ...each("name", "dest"), ...each("texts", "only-arches skip-arches") };
const SUMS = each("text", "md5 sha1 sha256 sha512");
const DOWNLOAD: Table = {
  url: "refused",
  "mirror-urls": "refused",
  referer: "refused",
  "disable-http-decompression": "flag",
};
/** What brings its content over the network, or out of a repository beside the source. */
const FETCHED = { url: "refused", path: "refused" } as const;

/** Keys of sources by their type. Those whose content is fetched are known, and refused: builds have no network. */
export const SOURCE_KEYS: Readonly<Record<string, Table>> = {
  archive: {
    ...COMMON,
    ...SUMS,
    ...DOWNLOAD,
    path: "place",
    "git-init": "flag",
    "archive-type": "text",
    "strip-components": "whole",
    "dest-filename": "name",
  },
  file: { ...COMMON, ...SUMS, ...DOWNLOAD, path: "place", "dest-filename": "name" },
  dir: { ...COMMON, path: "place", skip: "texts" },
  inline: { ...COMMON, contents: "text", base64: "flag", "dest-filename": "name" },
  script: { ...COMMON, commands: "texts", "dest-filename": "name" },
  shell: { ...COMMON, commands: "texts" },
  patch: {
    ...COMMON,
    path: "place",
    paths: "places",
    "strip-components": "whole",
    "use-git": "flag",
    "use-git-am": "flag",
    options: "texts",
  },
  "extra-data": {
    ...COMMON,
    filename: "name",
    url: "text",
    sha256: "text",
    size: "whole",
    "installed-size": "whole",
  },
  git: {
    ...COMMON,
    ...FETCHED,
    ...each("text", "branch tag commit"),
    ...each("flag", "disable-fsckobjects disable-shallow-clone disable-submodules"),
  },
  bzr: { ...COMMON, ...FETCHED, revision: "text" },
  svn: { ...COMMON, ...FETCHED, revision: "text" },
};

/** Sources that flatpak-builder would fetch. */
export const FETCHED_TYPES = ["git", "bzr", "svn"];

/** Which of the names is meant by one in another spelling: `finishArgs`, `build_commands`. */
export function meant(name: string, names: ReadonlyArray<string>): string | undefined {
  const plain = (word: string) => word.replaceAll(/[-_ ]/g, "").toLowerCase();
  return names.find((each) => plain(each) === plain(name));
}
