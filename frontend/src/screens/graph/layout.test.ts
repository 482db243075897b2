import { describe, expect, it } from "vitest";
import { BOX, type Edge, layout, line, type Placed, scrolledTo } from "./layout";

const edges = (...pairs: [string, string][]): Edge[] => pairs.map(([parent, child]) => ({ parent, child }));

function layers(ids: string[], ...pairs: [string, string][]): Record<string, number> {
  return Object.fromEntries([...layout(ids, edges(...pairs)).nodes].map(([id, { layer }]) => [id, layer]));
}

describe("layers", () => {
  it("put each job to the right of all that it waits for", () => {
    expect(layers(["d", "c", "b", "a"], ["a", "b"], ["b", "c"], ["a", "c"], ["c", "d"])).toEqual({
      a: 0,
      b: 1,
      c: 2,
      d: 3,
    });
  });

  it("are one for jobs that know nothing of each other", () => {
    expect(layers(["a", "b"])).toEqual({ a: 0, b: 0 });
  });

  it("leave out edges to jobs that are not shown", () => {
    expect(layers(["a"], ["gone", "a"])).toEqual({ a: 0 });
  });

  it("end, even for a circle", () => {
    expect(Object.keys(layers(["a", "b"], ["a", "b"], ["b", "a"]))).toEqual(["a", "b"]);
  });
});

describe("places", () => {
  it.each([200, 340, 700])("are scrolled to so that the first box in %d pixels is whole, as is the job's", (width) => {
    const placed = layout(["a", "b", "c", "d"], edges(["a", "b"], ["b", "c"], ["c", "d"]));
    for (const job of placed.nodes.values()) {
      const left = scrolledTo(placed, job, 1, width);
      for (const { x } of placed.nodes.values()) expect(x < left && x + BOX.width > left).toBe(false);
      expect(job.x).toBeGreaterThanOrEqual(left);
      expect(job.x + BOX.width).toBeLessThanOrEqual(left + width);
    }
  });

  it("are scrolled no further than the end, but for the rest of a column", () => {
    const placed = layout(["a", "b", "c", "d"], edges(["a", "b"], ["b", "c"], ["c", "d"]));
    const [first, second, , last] = [...placed.nodes.values()] as [Placed, Placed, Placed, Placed];
    const column = second.x - first.x;
    for (const width of [200, 340, 700, placed.width])
      expect(scrolledTo(placed, last, 1, width)).toBeLessThan(placed.width - width + column);
  });

  it("do not overlap", () => {
    const ids = Array.from({ length: 60 }, (_, n) => `${n}`);
    const { nodes, width, height } = layout(
      ids,
      ids.slice(1).map((child, n) => ({ parent: `${Math.floor(n / 3)}`, child })),
    );
    const placed = [...nodes.values()];
    for (const a of placed) {
      expect(a.x).toBeGreaterThanOrEqual(0);
      expect(a.x + BOX.width).toBeLessThanOrEqual(width);
      expect(a.y + BOX.height).toBeLessThanOrEqual(height);
      for (const b of placed) if (a !== b) expect(a.x !== b.x || Math.abs(a.y - b.y) >= BOX.height).toBe(true);
    }
    expect(placed).toHaveLength(60);
  });

  it("are near what they are connected with", () => {
    const { nodes } = layout(["a", "b", "b2", "a2"], edges(["a", "a2"], ["b", "b2"]));
    expect(nodes.get("a2")?.row).toBe(nodes.get("a")?.row);
  });

  it("need no room where there is nothing", () => {
    expect(layout([], []).nodes.size).toBe(0);
  });
});

it("a line leads from side to side", () => {
  const at = (x: number) => ({ id: "", layer: 0, row: 0, x, y: 0 });
  expect(line(at(0), at(240))).toBe("M184,23 C212,23 212,23 240,23");
});
