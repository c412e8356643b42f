/** Repositories of Flatpaks. */
import { type Command, command, SEEN } from "../table.ts";
import { listing, showing } from "./entity.ts";

const repositories = () => import("../actions/repositories.ts");

const REPOSITORY = {
  repository: { summary: "Id or name of the repository", names: { collection: "repositories" } },
} as const;
const TITLE = { title: { type: "string", value: "TEXT", summary: "What clients show" } } as const;

export const repositoryCommands: readonly Command[] = [
  listing({
    path: "repos list",
    operation: "listRepositories",
    collection: "repositories",
    shown: [
      { title: "name", value: (row) => row.spec.name },
      { title: "state", value: (row) => row.status.state },
      { title: "node", value: (row) => row.status.node },
      { title: "key", value: (row) => row.status.key?.fingerprint.slice(-16) },
      { title: "title", value: (row) => row.spec.title },
    ],
    nameOf: (row) => row.spec.name,
    nothing: "There is no repository",
    examples: [{ line: "mill repos list", says: "All of them" }],
  }),
  showing({
    path: "repos show",
    operation: "getRepository",
    collection: "repositories",
    argument: "repository",
    people: async (repository) => (await repositories()).repositoryText(repository),
    examples: [{ line: "mill repos show stable", says: "With its key" }],
  }),
  command({
    path: "repos create",
    summary: "Create a repository for Flatpaks, with a key of its own",
    arguments: { name: { summary: "Its name" } },
    flags: {
      ...TITLE,
      collection: { type: "string", value: "ID", summary: "Its collection id, by a domain of yours; it stays" },
    },
    examples: [
      {
        line: 'mill repos create stable --title "Our applications" --collection org.example.Stable',
        says: "Made by the publisher",
      },
    ],
    impact: "write",
    run: async (call) => (await repositories()).createRepository(call),
  }),
  command({
    path: "repos change",
    summary: "Change a repository's title",
    arguments: REPOSITORY,
    flags: { ...TITLE, ...SEEN },
    examples: [{ line: 'mill repos change stable --title "Ours"', says: "Clients show it from the next summary on" }],
    impact: "write",
    run: async (call) => (await repositories()).changeRepository(call),
  }),
  command({
    path: "repos retry",
    summary: "Try again to make a repository that could not be made",
    arguments: REPOSITORY,
    examples: [{ line: "mill repos retry stable", says: "After what it lacked was installed" }],
    impact: "write",
    run: async (call) => (await repositories()).retryRepository(call),
  }),
];
