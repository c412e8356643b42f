/** Every event of applications, as a person reads it. */
import assert from "node:assert/strict";
import { suite } from "../../tests/harness/suite.ts";
import { sentenceOf } from "../testing.ts";
import { applications } from "./context.ts";

const test = suite("sentences of applications");

const SENTENCES: Readonly<Record<string, string>> = {
  ApplicationCreated: 'created the application "shop" from https://git.example.org/shop.git',
  ApplicationRetitled: 'titled it "Our shop"',
  SourceChanged: "took it from https://git.example.org/shop.git at main",
  BuildChanged: "has it built from Dockerfile in .",
  RuntimeChanged: "changed how it runs: port 3000, 2 variables",
  HealthChanged: "changed its health check: /",
  DomainsChanged: "added the host shop.example.org",
  PolicyChanged: "changed the policy of its deployments: 5 releases kept",
  HomeChosen: "chose the node local for it",
  ApplicationScaled: "scaled it from 1 to 2 instances",
  ApplicationStartRequested: "asked for it to be started",
  ApplicationStopRequested: "asked for it to be stopped",
  ApplicationPlaced: "placed it on the node local",
  DeploymentQueued: "asked for deployment 4 of main, in place of the one that waited",
  DeploymentDequeued: "cancelled the deployment that waited",
  DeploymentActivated: "began the deployment that waited",
  DeploymentEnded: "saw the deployment end: it succeeded; 8f1b2c3d4e5f is live",
  ApplicationSettled: "stopped it",
  DriftDetected: "found container:0 drifted: missing instead of running",
  DriftRepaired: "repaired container:0: started anew",
  DriftRepairFailed: "could not repair container:0: the image is gone",
  DriftRepairSuspended: "leaves container:0 alone until 2026-11-21 08:10 after 5 repairs within ten minutes",
  ApplicationRemovalRequested: "asked for it to be removed",
  ApplicationRemoved: 'removed the application "shop"',
  DeploymentRequested: 'asked for deployment 5 of "shop": back to deployment 4',
  DeploymentWaiting: "noted that it waits: no worker of the node local is there",
  DeploymentStarted: "began it on the node local",
  PhaseStarted: "began the build, attempt 2",
  PhaseCompleted: "finished the source in 1.5 s",
  PhaseFailed: "failed at the build (BUILD_FAILED: step 3 of 5 ended with 1)",
  CancellationRequested: "asked for it to be cancelled: The wrong branch",
  SupersessionRequested: "asked for a newer one, which interrupts it",
  CompensationStarted: "began putting the former routes back",
  CompensationCompleted: "finished putting the former routes back",
  CompensationFailed: "failed at removing the new containers (the engine does not answer)",
  DeploymentSucceeded: "finished it: 8f1b2c3d4e5f is live",
  DeploymentFailed: "ended it: it failed at the build (BUILD_FAILED: step 3 of 5 ended with 1)",
  DeploymentCancelled: "ended it: cancelled",
  DeploymentSuperseded: "ended it: a newer one has taken its place",
  UploadOpened: "began to upload site.tar.gz of 48213 bytes",
  UploadCompleted: "has all of the upload, b5bb9d8014a0",
  UploadRemoved: "deleted the upload",
  DeploymentRolledBack: "took it back: dep_01kajzq4v0e8r9t2m5x7c3d6fg is live again",
};

test("each event's example reads like this, and none is left out", () => {
  const said: Record<string, string> = {};
  for (const kind of Object.values(applications.kinds)) {
    for (const [type, { version, examples }] of Object.entries(kind.events)) {
      said[type] = sentenceOf(kind, type, examples[version]);
    }
  }
  assert.deepEqual(said, SENTENCES);
});

test.run();
