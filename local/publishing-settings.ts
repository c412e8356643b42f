/** Settings of `mill up` for publishing. */
import { path, url } from "./setting-values.ts";

export const publishingDeclarations = {
  repositoriesUrl: {
    env: "MILLRACE_REPOSITORIES_URL",
    key: "publishing.url",
    read: url("http", "https"),
    fallback: undefined,
    meaning:
      "the address that clients of repositories are given (https://flatpak.example.org); unless set, that of applications",
  },
  flatManagerConfigFile: {
    env: "MILLRACE_FLAT_MANAGER_CONFIG_FILE",
    key: "publishing.flat_manager_config_file",
    read: path,
    fallback: undefined,
    meaning: "configuration of a flat-manager whose clients push here, as it is; its tokens are taken",
  },
} as const;
