import assert from "node:assert/strict";
import { test } from "node:test";
import { Lines, Pieces, wholeText } from "../src/log";

const text = (offset: number, said: string) => ({
  kind: "text" as const,
  offset,
  next: offset + new TextEncoder().encode(said).length,
  text: said,
});

test("no piece is shown twice and what is missing is marked", () => {
  const pieces = new Pieces(0);
  assert.deepEqual(pieces.take(text(0, "ab")), [{ kind: "text", text: "ab" }]);
  assert.deepEqual(pieces.take(text(0, "ab")), []);
  assert.deepEqual(pieces.take(text(1, "bcé")), [{ kind: "text", text: "cé" }]);
  assert.deepEqual(pieces.take({ kind: "skipped", offset: 5, next: 100 }), [{ kind: "skipped", from: 5, to: 100 }]);
  assert.deepEqual(pieces.take(text(120, "x")), [
    { kind: "skipped", from: 100, to: 120 },
    { kind: "text", text: "x" },
  ]);
  assert.deepEqual(pieces.take({ kind: "skipped", offset: 130, next: 140 }), [{ kind: "skipped", from: 121, to: 140 }]);
  assert.deepEqual(pieces.take({ kind: "end", offset: 140 }), []);
  assert.equal(pieces.next, 140);
});

test("a range is cut to whole characters", () => {
  const bytes = new TextEncoder().encode("aé日🌊b");
  for (let from = 0; from < bytes.length; from += 1) {
    for (let to = from; to <= bytes.length; to += 1) {
      const { text, before, after } = wholeText(bytes.subarray(from, to), from);
      assert.ok(!text.includes("\ufffd"), `${from}..${to}: ${text}`);
      assert.ok(before <= 3 && after <= 3);
    }
  }
  assert.deepEqual(wholeText(bytes, 0), { text: "aé日🌊b", before: 0, after: 0 });
  // What is no UTF-8 at all is shown as such and not waited for.
  assert.equal(wholeText(new Uint8Array([0x61, 0xff, 0x62]), 0).text, "a\ufffdb");
});

test("lines as a terminal shows them", () => {
  const lines = new Lines();
  assert.deepEqual(lines.push("one\ntw"), { whole: "one\n", open: "tw" });
  assert.deepEqual(lines.push("o\r\n 10%\r 20%"), { whole: "two\n", open: " 20%" });
  assert.deepEqual(lines.push("\r100%\ndone\n"), { whole: "100%\ndone\n", open: "" });
  assert.deepEqual(lines.push("\u001b[1;31mred\u001b[0m \u001b]0;title\u0007x\n"), { whole: "red x\n", open: "" });
  // A sequence that comes in two pieces.
  lines.push("a\u001b[3");
  assert.deepEqual(lines.push("1mb\n"), { whole: "ab\n", open: "" });
  assert.equal(lines.push("x".repeat(70_000)).whole.length, 70_000);
});
