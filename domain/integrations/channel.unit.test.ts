/** Addresses of channels in both dialects, and what is said. */
import assert from "node:assert/strict";
import { suite } from "../../tests/harness/suite.ts";
import { channel } from "./channel.ts";
import { readChannelUrl } from "./channel-url.ts";
import { cut, render, type Told, templateFault } from "./notification.ts";

const test = suite("channel rules");

const target = (url: string) => {
  const read = readChannelUrl(url);
  assert.ok("target" in read, url);
  return read.target as Record<string, unknown>;
};

test("both dialects lead to the same", () => {
  const discord = "https://discord.com/api/webhooks/123456789/the-token?wait=true";
  assert.equal(target("discord://the-token@123456789").url, discord);
  assert.equal(target("discord://123456789/the-token").url, discord);
  const bot = "https://api.telegram.org/bot12345678:the-key-of-the-bot/sendMessage";
  assert.deepEqual(target("telegram://12345678:the-key-of-the-bot@telegram?chats=@room"), {
    service: "telegram",
    url: bot,
    chats: ["@room"],
  });
  assert.equal(target("tgram://12345678:the-key-of-the-bot/-1001").url, bot);
  assert.equal(target("ntfy://topic").url, "https://ntfy.sh/topic");
  assert.equal(target("ntfys://ntfy.example.com/topic").url, "https://ntfy.example.com/topic");
  assert.equal(target("gotify://example.com:8443/below/the-token").url, "https://example.com:8443/below/message");
  assert.equal(target("slack://T1/B2/x3").url, "https://hooks.slack.com/services/T1/B2/x3");
  assert.equal(target("json://example.com/a b".replace(" ", "%20")).url, "http://example.com/a%20b");
  assert.equal(target("generic://example.com/a").url, "https://example.com/a");
  assert.deepEqual(target("matrix://:token@example.com/?rooms=!a:b,%23c:d").rooms, ["!a:b", "#c:d"]);
});

test("mail has its server, its way of TLS, and who is written to", () => {
  assert.deepEqual(
    target("smtp://ada:pass%40word@mail.example.com:587/?from=a@example.com&to=b@example.com,c@example.com"),
    {
      ...{ service: "mail", host: "mail.example.com", port: 587, secure: false, from: "a@example.com" },
      ...{ to: ["b@example.com", "c@example.com"], user: "ada", password: "pass@word" },
    },
  );
  const mailto = target("mailtos://ada:secret@example.com?smtp=smtp.example.com&to=b@example.com");
  assert.deepEqual([mailto.host, mailto.port, mailto.from], ["smtp.example.com", 587, "ada@example.com"]);
  for (const wrong of [
    "smtp://host/?from=a&to=b@example.com",
    "smtp://host:22/?from=a@b.example&to=b@b.example",
    "mailto://x",
    "constructor://x",
  ]) {
    assert.ok("fault" in readChannelUrl(wrong), wrong);
  }
});

test("no fault and nothing shown repeats a secret", () => {
  for (const url of [
    ..."slack://SECRET/SECRET discord://SECRET@x gotify://SECRET ntfy://SECRET/SECRET/SECRET telegram://SECRET".split(
      " ",
    ),
    ..."slack://T1/SECRET/SECRET discord://123456789/SECRET gotify://example.com/SECRET tgram://SECRET/1".split(" "),
    ..."matrix://:SECRET@example.com/?rooms=!a:b ntfy://SECRET@example.com/topic jsons://example.com/SECRET".split(" "),
    "smtp://SECRET:SECRET@example.com/?from=a@example.com&to=b@example.com",
    "SECRET",
  ]) {
    const read = readChannelUrl(url);
    assert.equal(("fault" in read ? read.fault : read.shown).includes("SECRET"), false, url);
  }
  assert.ok("fault" in readChannelUrl(`json://example.com/${"x".repeat(2_000)}`));
});

const told: Told = {
  ...{ type: "ItemOpened", actor: "ada", kind: "item", id: "itm_1", time: "2026-11-21T08:00:00.000Z" },
  sentence: 'opened the task "<b> & *c* @everyone"',
  data: { title: "<b> & *c* @everyone", nested: { list: [1, 2] }, none: null },
};

test("templates name values; values are escaped, the author's own text is not", () => {
  assert.equal(render("slack", "*{{data.title}}*", told), "*&lt;b&gt; &amp; *c* @everyone*");
  assert.equal(render("discord", "**{{data.title}}**", told), "**<b\\> & \\*c\\* @\u200beveryone**");
  assert.equal(render("ntfy", "{{data.nested.list}}|{{data.none}}|{{data.nothing.there}}", told), "[1,2]||");
  assert.equal(render("ntfy", "{{data.constructor}}{{data.title.length}}", told), "");
  assert.equal(render("ntfy", undefined, told), 'ada opened the task "<b> & *c* @everyone" (item itm_1)');
  for (const good of ["plain", "{{ actor }} and {{data.a_b.c1}}", "{ not a place }"])
    assert.equal(templateFault(good), undefined);
  for (const bad of [
    "",
    "{{",
    "}}",
    "{{actor",
    "{{process.env}}",
    "{{data.a-b}}",
    "{{data.a()}}",
    "{% if %}",
    "<% %>",
    "{{{{actor}}}}",
  ]) {
    assert.notEqual(templateFault(bad), undefined, bad);
  }
});

test("what a service would refuse is cut, never within a character", () => {
  assert.equal(cut("discord", "x".repeat(2_000)).length, 2_000);
  const cutShort = cut("discord", "😀".repeat(1_001));
  assert.ok(cutShort.length <= 2_000 && cutShort.endsWith("😀…"));
  assert.ok(cut("slack", "x".repeat(9_999)).length === 3_000);
});

test("what is told outside holds no sealed value, and every event has its sentence", () => {
  for (const [type, { examples, toPublic, sentence }] of Object.entries(channel.events)) {
    const data = examples[1] as object;
    assert.ok(sentence(data).length > 5, type);
    const shown = toPublic === undefined || toPublic === null ? data : toPublic(data);
    assert.equal(JSON.stringify(shown).includes("sealed"), false, type);
    assert.ok(type in channel.publicEvents, type);
  }
});

test.run();
