/** Metrics of applications and of the nodes that they live on. */
import * as HttpApiGroup from "effect/http-api/HttpApiGroup";
import * as OpenApi from "effect/http-api/OpenApi";
import { ORGANISATION, says } from "../http.ts";
import { metricsOf } from "../metrics.ts";

export const metricsApi = HttpApiGroup.make("metrics")
  .add(
    metricsOf("metricsOfApplication", `${ORGANISATION}/applications/:id`).annotateMerge(
      says(
        "applications:read",
        "What an application takes, over time",
        "`cpu_cores`, `memory_bytes`, `network_receive_bytes_per_second`, `network_transmit_bytes_per_second` and `restarts` (by the engine, of the container that runs now), by `instance`. A static site has none. The last hour unless `from` is given.",
      ),
    ),
  )
  .add(
    metricsOf("metricsOfNode", `${ORGANISATION}/nodes/:id`).annotateMerge(
      says(
        "applications:read",
        "What a node has left, over time",
        "`cpu_ratio`, `load_1m`, `memory_used_bytes`, `memory_total_bytes`, `disk_free_bytes`, `disk_used_ratio`, `containers`. The last hour unless `from` is given.",
      ),
    ),
  )
  .annotateMerge(OpenApi.annotations({ title: "Metrics", description: "Samples of what runs, and of where it runs" }));
