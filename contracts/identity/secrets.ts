/** Secrets: stored, replaced, erased, never shown. */
import * as HttpApiEndpoint from "effect/http-api/HttpApiEndpoint";
import * as HttpApiGroup from "effect/http-api/HttpApiGroup";
import * as HttpApiSchema from "effect/http-api/HttpApiSchema";
import * as OpenApi from "effect/http-api/OpenApi";
import * as Schema from "effect/Schema";
import { createOf, listOf } from "../endpoints.ts";
import { changeHeaders, entity, entityParams, ORGANISATION, readQuery, says, textFilter } from "../http.ts";
import { Id, Name } from "../ids.ts";
import { diffOf, historyOf } from "../past.ts";

export const Secret = entity(Id("sec", "Secret id"), Schema.Struct({ name: Name }), Schema.Struct({})).annotate({
  identifier: "Secret",
  description: "A secret without its value, which is never shown",
});

const SecretValue = Schema.String.check(Schema.isMinLength(1), Schema.isMaxLength(65_536)).annotate({
  description: "The value: sealed before it is kept, and never shown again",
});
export const StoreSecret = Schema.Struct({ name: Name, value: SecretValue }).annotate({ identifier: "StoreSecret" });
export const ReplaceSecret = Schema.Struct({ value: SecretValue }).annotate({ identifier: "ReplaceSecret" });

const secrets = `${ORGANISATION}/secrets` as const;

export const secretsApi = HttpApiGroup.make("secrets")
  .add(
    createOf("storeSecret", secrets, StoreSecret, Secret).annotateMerge(
      says("identity:secrets", "Store a secret under a name"),
    ),
  )
  .add(
    HttpApiEndpoint.put("replaceSecret", `${secrets}/:id`, {
      params: entityParams,
      headers: changeHeaders,
      payload: ReplaceSecret,
      success: Secret,
    }).annotateMerge(says("identity:secrets", "Give a secret another value")),
  )
  .add(
    listOf("listSecrets", secrets, Secret, { name: textFilter("Its name") }).annotateMerge(
      says("identity:secrets", "List secrets, without their values"),
    ),
  )
  .add(
    HttpApiEndpoint.get("getSecret", `${secrets}/:id`, {
      params: entityParams,
      query: readQuery,
      success: Secret,
    }).annotateMerge(says("identity:secrets", "A secret without its value, as it is or as it was")),
  )
  .add(
    HttpApiEndpoint.delete("eraseSecret", `${secrets}/:id`, {
      params: entityParams,
      headers: changeHeaders,
      success: HttpApiSchema.NoContent,
    }).annotateMerge(says("identity:secrets", "Erase a secret: its key is destroyed, nobody can read it again")),
  )
  .add(
    historyOf("historyOfSecret", `${secrets}/:id`).annotateMerge(says("identity:secrets", "What happened to a secret")),
  )
  .add(
    diffOf("diffSecret", `${secrets}/:id`).annotateMerge(
      says("identity:secrets", "What differs between two moments of a secret"),
    ),
  )
  .annotateMerge(
    OpenApi.annotations({ title: "Secrets", description: "Named values that are sealed before they are kept" }),
  );
