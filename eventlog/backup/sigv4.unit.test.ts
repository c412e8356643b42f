/** The examples that AWS has published for requests to S3 signed in their header. */
import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { suite } from "../../tests/harness/suite.ts";
import { sign, uriEncode } from "./sigv4.ts";

const test = suite("signature version 4");

const signing = {
  accessKey: "AKIAIOSFODNN7EXAMPLE",
  secretKey: "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY",
  region: "us-east-1",
  service: "s3",
};
const at = new Date("2013-05-24T00:00:00Z");
const host = "https://examplebucket.s3.amazonaws.com";
const sha256 = (text: string) => createHash("sha256").update(text).digest("hex");

const EXAMPLES = [
  {
    name: "GET of an object, with a range",
    method: "GET",
    url: `${host}/test.txt`,
    headers: { range: "bytes=0-9" },
    content: "",
    signature: "f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41",
  },
  {
    name: "PUT of an object",
    method: "PUT",
    url: `${host}/test%24file.text`,
    headers: { date: "Fri, 24 May 2013 00:00:00 GMT", "x-amz-storage-class": "REDUCED_REDUNDANCY" },
    content: "Welcome to Amazon S3.",
    signature: "98ad721746da40c64f1a55b78f14c238d841ea1380cd77a1b5971af0ece108bd",
  },
  {
    name: "GET of a bucket's lifecycle",
    method: "GET",
    url: `${host}/?lifecycle`,
    headers: {},
    content: "",
    signature: "fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543",
  },
  {
    name: "GET of a list of objects",
    method: "GET",
    url: `${host}/?max-keys=2&prefix=J`,
    headers: {},
    content: "",
    signature: "34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7",
  },
];

for (const { name, method, url, headers, content, signature } of EXAMPLES) {
  test(name, () => {
    const signed = sign({ method, url: new URL(url), headers, contentSha256: sha256(content), at }, signing);
    assert.ok(signed.authorization!.endsWith(`Signature=${signature}`), signed.authorization);
    assert.match(signed.authorization!, /^AWS4-HMAC-SHA256 Credential=AKIAIOSFODNN7EXAMPLE\/20130524\/us-east-1\/s3\//);
  });
}

test("only what RFC 3986 leaves alone is left alone", () => {
  assert.equal(uriEncode("a-b.c_d~e f!'()*/ü"), "a-b.c_d~e%20f%21%27%28%29%2A%2F%C3%BC");
});

test.run();
