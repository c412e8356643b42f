/** The rules of uploads: opened, completed by the node as often as it likes, removed. */
import { suite } from "../../tests/harness/suite.ts";
import { given } from "../testing.ts";
import { upload } from "./upload.ts";

const test = suite("uploads");

const sha256 = "b5bb9d8014a0f9b1d61e21e796d78dccdf1352f23cd32812f4850b878ae4944c";
const opened = ["UploadOpened", { name: "site.tar.gz", bytes: 10, node: "local" }] as const;
const completed = ["UploadCompleted", { sha256 }] as const;
const removed = ["UploadRemoved", { why: "deleted" }] as const;
const open = { do: "open", name: "site.tar.gz", bytes: 10, node: "local" } as const;
const complete = { do: "complete", sha256, bytes: 10 } as const;

test("it is opened once, with a name and a size that are ones", () => {
  given(upload, []).when(open).happens(opened);
  given(upload, [opened]).when(open).isRefused({ refused: "conflict" });
  for (const name of ["", "..", "a/b", "a\\b", "a\nb", "x".repeat(256)]) {
    given(upload, [])
      .when({ ...open, name })
      .isRefused({ refused: "invalid", pointers: ["/body/name"] });
  }
  for (const bytes of [0, -1, 1.5, 2 ** 41, Number.NaN]) {
    given(upload, [])
      .when({ ...open, bytes })
      .isRefused({ refused: "invalid", pointers: ["/body/bytes"] });
  }
});

test("the node may tell twice that it is whole, and never that it is something else", () => {
  given(upload, [opened]).when(complete).happens(completed);
  given(upload, [opened, completed]).when(complete).happens();
  given(upload, [opened, completed])
    .when({ ...complete, sha256: sha256.replace("b", "c") })
    .isRefused({ rule: "upload-over" });
  given(upload, [opened])
    .when({ ...complete, bytes: 9 })
    .isRefused({ rule: "upload-incomplete" });
  given(upload, [opened, removed]).when(complete).isRefused({ rule: "upload-over" });
  given(upload, []).when(complete).isRefused({ refused: "not-found" });
});

test("it is removed once", () => {
  const remove = { do: "remove", why: "deleted" } as const;
  for (const story of [[opened], [opened, completed]]) given(upload, story).when(remove).happens(removed);
  given(upload, [opened, removed]).when(remove).happens();
  given(upload, []).when(remove).isRefused({ refused: "not-found" });
});

test.run();
