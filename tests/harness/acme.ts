/** An organisation `acme` behind a gateway and a projector of the file's own, and the shorthand in which tests of the API call them. */
import { type Answer, ask, eventually, type TestGateway, testGateway, testProjector } from "./gateway.ts";

export let gateway: TestGateway;
/** Id of acme. */
export let org = "";
let serial = 0;

/** Once a file, before its tests. */
export async function openAcme(): Promise<void> {
  gateway = await testGateway();
  await testProjector(gateway.config);
  org = (await call("POST", "/v1/organisations", { body: { name: "acme" } })).body.id;
  await eventually(async () => {
    const paths = ["history", "tokens", "search?q=acme"].map((rest) => `/v1/organisations/${org}/${rest}`);
    const answers = await Promise.all(paths.map((path) => call("GET", path)));
    return answers.every(({ status }) => status === 200) || undefined;
  }, "everything is projected for the first time");
}

type Options = Parameters<typeof ask>[3] & { readonly at?: string };

/** By the owner's token, unless another is given. */
export const call = (method: string, path: string, options: Options = {}): Promise<Answer> =>
  ask(options.at ?? gateway.url, method, path, { token: gateway.owner, ...options });

export const fresh = () => `n-${++serial}-${Date.now().toString(36)}`;

export const makeTokenAt = async (organisation: string, grants: string[], over: object = {}) =>
  (await call("POST", `/v1/organisations/${organisation}/tokens`, { body: { name: fresh(), grants, ...over } })).body;
