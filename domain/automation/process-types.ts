/** All types of processes that there are. */
import { changeFollowsDeployment } from "./change-follows-deployment.ts";
import type { ProcessType, ProcessTypes } from "./process-type.ts";

const all: ReadonlyArray<ProcessType> = [changeFollowsDeployment];

export const PROCESSES: ProcessTypes = Object.fromEntries(all.map((type) => [type.name, type]));
