import { expect, it } from "vitest";
import { type Kept, keep, type Listed, steady } from "./steady";

type Row = { id: string; status: string };

const row = (id: string, status = "queued"): Row => ({ id, status });
const keyOf = ({ id }: Row) => id;

/** A list with a row for each letter; without any they are on their way. */
const list = (name: string, ids?: string, isStandIn = false): Listed<Row> => ({
  name,
  rows: ids === undefined ? undefined : [...ids].map((id) => row(id)),
  isStandIn,
  keyOf,
});

/** What stands still after each of these was drawn while somebody points at it. */
function held(...drawn: Listed<Row>[]): string {
  const last = drawn.reduce<Kept<Row> | null>((before, each) => keep(before, each, true), null);
  return last ? last.rows.map(keyOf).join("") : "nothing";
}

it("keeps the order, shows each as it is now, lets what is new wait and tells what is gone", () => {
  const standing = [row("c"), row("b"), row("a")];
  const now = [row("e"), row("d"), row("c", "running"), row("a", "completed")];
  expect(steady(standing, now, keyOf)).toEqual({
    rows: [row("c", "running"), row("b"), row("a", "completed")],
    waiting: 2,
    gone: new Set(["b"]),
  });
});

it("holds what was drawn while the same question is asked anew", () => {
  expect(held(list("last hour", "ba"), list("last hour", "cba", true), list("last hour", "cb"))).toBe("ba");
  expect(held(list("last hour", "ba"), list("last hour"))).toBe("ba");
});

it("holds no answer to another question, and this one's as soon as it is here", () => {
  expect(held(list("all", "ba"), list("failed", "ba", true))).toBe("nothing");
  expect(held(list("all", "ba"), list("failed", "ba", true), list("failed", "zy"), list("failed", "xzy"))).toBe("zy");
});

it("holds nothing where nobody points, and no list without rows", () => {
  expect(keep({ name: "all", rows: [row("a")] }, list("all", "ba"), false)).toBeNull();
  expect(held(list("all", ""), list("all", "ba"))).toBe("ba");
});

it("is the same while nothing changes, so that nothing is drawn again", () => {
  const all = list("all", "ba");
  const kept = keep(null, all, true);
  expect(keep(kept, all, true)).toBe(kept);
});
