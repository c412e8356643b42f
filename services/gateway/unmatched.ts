/**
 * What no route takes: 404. The closed set of problems has no "method not allowed", so a path that takes other methods is not
 * found with this one, and says in `Allow` and `fix` which it takes.
 */
import { Api } from "@millrace/contracts/api.ts";
import { NotFound } from "@millrace/contracts/problems.ts";
import type { HttpServerRequest } from "effect/http/HttpServerRequest";
import * as HttpServerResponse from "effect/http/HttpServerResponse";
import * as HttpApi from "effect/http-api/HttpApi";
import { askedOf } from "./asked.ts";
import { answerProblem } from "./failures.ts";

interface Known {
  readonly pattern: RegExp;
  readonly method: string;
}

function knownPaths(): Known[] {
  const known: Known[] = [];
  HttpApi.reflect(Api as never, {
    onGroup: () => {},
    onEndpoint: ({ endpoint: { path, method } }) => {
      known.push({ pattern: new RegExp(`^${path.replaceAll(/:[a-z]+/gi, "[^/]+")}$`), method });
    },
  });
  return known;
}

const KNOWN = knownPaths();

export function answerUnmatched(request: HttpServerRequest): HttpServerResponse.HttpServerResponse {
  const asked = askedOf(request);
  const path = request.url.split("?", 1)[0]!;
  const methods = [...new Set(KNOWN.filter(({ pattern }) => pattern.test(path)).map(({ method }) => method))];
  if (methods.length === 0) {
    const fix = "The API is described at /openapi.json.";
    return answerProblem(new NotFound({ detail: "There is no such path.", fix }), asked);
  }
  const allow = methods.join(", ");
  const problem = new NotFound({ detail: `${request.method} is not taken here.`, fix: `This path takes ${allow}.` });
  return HttpServerResponse.setHeader(answerProblem(problem, asked), "allow", allow);
}
