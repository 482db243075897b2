import { describe, expect, it } from "vitest";
import {
  areas,
  COLOURS,
  colourOf,
  coloursOf,
  isHeldCapped,
  type Share,
  type Shares,
  stacked,
  standingOf,
} from "./shares";

const now = { running: 0, ready: 0, ready_is_capped: false, waiting_seconds: null, held: 0, behind_seconds: null };
const colours = new Map<string, string>();
const share = (organization: string | null, ...seconds: number[]): Share => ({
  organization,
  now,
  ended: seconds.map(() => 1),
  seconds,
});
const minutes = ["2026-11-26T10:00:00Z", "2026-11-26T10:01:00Z"];

describe("areas", () => {
  it("are parts of a minute's time", () => {
    const found = areas({ minutes, shares: [share("acme", 3, 0), share("rival", 1, 0)], rest: null }, colours);
    expect(found.map(({ name, percent }) => [name, percent])).toEqual([
      ["acme", [75, null]],
      ["rival", [25, null]],
    ]);
  });

  it("put those for whom there is no colour with the rest", () => {
    const many = Array.from({ length: COLOURS.length + 2 }, (_, n) => share(`o${n}`, 1, 1));
    const found = areas({ minutes, shares: many, rest: share(null, 2, 2) }, colours);
    expect(found).toHaveLength(COLOURS.length + 1);
    expect(found.at(-1)?.name).toBe("All others");
    expect(found.at(-1)?.percent[0]).toBeCloseTo((100 * 4) / 12);
  });

  it("are none where nobody did anything", () => {
    expect(areas({ minutes, shares: [], rest: null }, colours)).toEqual([]);
  });
});

it("more may be held back where a lane was not counted to its end", () => {
  expect(isHeldCapped({ ready_is_capped: true, held: 10_000 })).toBe(true);
  expect(isHeldCapped({ ready_is_capped: true, held: 20 })).toBe(false);
  expect(isHeldCapped({ ready_is_capped: false, held: 12_000 })).toBe(false);
});

it("what an organization has is unknown only where some are told of together", () => {
  const alone = { rest: null, organizations: 1, neighbour: null, waiting: null };
  const told: Shares = { minutes, shares: [share("acme", 1)], ...alone };

  expect(standingOf(told, "acme")).toBe(now);
  expect(standingOf(told, "idle")?.ready).toBe(0);
  expect(standingOf({ ...told, rest: share(null, 1) }, "idle")).toBeNull();
});

it("stacked, the uppermost comes first and reaches 100 %", () => {
  const edges = stacked(
    areas({ minutes, shares: [share("a", 1, 0), share("b", 1, 0), share("c", 2, 0)], rest: null }, colours),
  );
  expect(edges).toEqual([
    [100, null],
    [50, null],
    [25, null],
  ]);
});

describe("the colour of an organization", () => {
  it("stays when its rank changes, and is given on when it is gone", () => {
    const first = coloursOf([share("acme", 1), share("globex", 1), share("third", 1)], new Map());
    const then = coloursOf([share("globex", 2), share("acme", 1), share("fourth", 1)], first);
    expect([...first.values()]).toEqual(COLOURS.slice(0, 3));
    expect(["acme", "globex", "fourth"].map((name) => then.get(name))).toEqual(COLOURS.slice(0, 3));
    expect(coloursOf([share("acme", 1), share("fourth", 1), share("globex", 1)], then)).toBe(then);
  });

  it("is that of the rest where there are more than colours", () => {
    const many = Array.from({ length: COLOURS.length + 1 }, (_, n) => share(`o${n}`, 1));
    const found = coloursOf(many, new Map());
    expect(new Set(found.values()).size).toBe(COLOURS.length);
    expect(colourOf(`o${COLOURS.length}`, found)).toBe(colourOf(null, found));
  });
});
