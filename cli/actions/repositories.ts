/** Repositories of Flatpaks. */
import { usage } from "../failure.ts";
import { gatewayOf } from "../gateway.ts";
import { facts, printOne } from "../output.ts";
import { styleOf } from "../run.ts";
import type { AnyCall } from "../table.ts";
import type { Answer } from "../typed.ts";

type Repository = Answer<"getRepository">;
interface Flags {
  readonly title?: string | undefined;
  readonly collection?: string | undefined;
  readonly seen?: number | undefined;
}
type Of<A> = AnyCall & { readonly flags: Flags; readonly args: A };

export const repositoryText = ({ id, spec, status, generation }: Repository): string =>
  facts([
    ["name", spec.name],
    ["title", spec.title],
    ["id", id],
    ["state", status.state],
    ["why", status.failure && `${status.failure.reason} (${status.failure.code})`],
    ["fix", status.failure?.fix],
    ["collection", spec.collectionId],
    ["node", status.node],
    ["key", status.key && `${status.key.fingerprint} ${status.key.user}`],
    ["generation", generation],
  ]);

const named = ({ spec }: { readonly spec: { readonly name: string } }): string => spec.name;
const print = (call: AnyCall, repository: Repository): Promise<void> =>
  printOne(call.io, styleOf(call), repository, repositoryText, named);

export async function createRepository(call: Of<{ readonly name: string }>): Promise<void> {
  const { title, collection } = call.flags;
  const payload = {
    name: call.args.name,
    ...(title === undefined ? {} : { title }),
    ...(collection === undefined ? {} : { collectionId: collection }),
  };
  await print(call, await gatewayOf(call).call("createRepository", { payload }));
  call.io.err(`Next: mill repos show ${call.args.name} --wait state=ready\n`);
}

export async function changeRepository(call: Of<{ readonly repository: string }>): Promise<void> {
  const { title, seen } = call.flags;
  if (title === undefined) throw usage("Nothing is to be changed", "mill repos change --help");
  const payload = { title: title === "" ? null : title };
  await print(
    call,
    await gatewayOf(call).call("changeRepository", { params: { id: call.args.repository }, seen, payload }),
  );
}

export async function retryRepository(call: Of<{ readonly repository: string }>): Promise<void> {
  await print(call, await gatewayOf(call).call("retryRepository", { params: { id: call.args.repository } }));
}
