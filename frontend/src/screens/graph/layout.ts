/**
 * Where the jobs of a graph stand: in layers, each to the right of all that it waits for. Pure.
 *
 * A job's layer is the length of the longest way to it. Within a layer jobs stand near what they are connected with:
 * a few sweeps put each at the mean place of its neighbours in the layer beside it.
 */

export interface Edge {
  parent: string;
  child: string;
}

export interface Placed {
  id: string;
  layer: number;
  row: number;
  x: number;
  y: number;
}

export interface Layout {
  nodes: Map<string, Placed>;
  width: number;
  height: number;
}

export const BOX = { width: 184, height: 46 } as const;
const GAP = { x: 56, y: 14 } as const;
const MARGIN = 12;
const SWEEPS = 6;

export function layout(ids: readonly string[], edges: readonly Edge[]): Layout {
  const known = new Set(ids);
  const inside = edges.filter(({ parent, child }) => known.has(parent) && known.has(child) && parent !== child);
  const layers = layered(ids, layerOf(ids, inside));
  order(layers, inside);
  const tallest = Math.max(0, ...layers.map((layer) => layer.length));
  const nodes = new Map<string, Placed>();
  layers.forEach((layer, place) => {
    const top = ((tallest - layer.length) * (BOX.height + GAP.y)) / 2;
    layer.forEach((id, row) => {
      nodes.set(id, {
        id,
        layer: place,
        row,
        x: MARGIN + place * (BOX.width + GAP.x),
        y: MARGIN + top + row * (BOX.height + GAP.y),
      });
    });
  });
  return {
    nodes,
    width: 2 * MARGIN + layers.length * BOX.width + Math.max(0, layers.length - 1) * GAP.x,
    height: 2 * MARGIN + tallest * BOX.height + Math.max(0, tallest - 1) * GAP.y,
  };
}

/** How far to scroll to have a job about in the middle: the first column that is seen is seen whole.
 *
 * That may be further than the graph's end, by less than a column.
 */
export function scrolledTo(placed: Layout, job: Placed, zoom: number, width: number): number {
  const middle = Math.min((job.x + BOX.width / 2) * zoom - width / 2, placed.width * zoom - width);
  const columns = [...placed.nodes.values()].map(({ x }) => (x - MARGIN) * zoom).filter((left) => left >= middle);
  return Math.min((job.x - MARGIN) * zoom, ...columns);
}

/** The length of the longest way to each; a job in a circle, which there can't be, stays where it was reached first. */
function layerOf(ids: readonly string[], edges: readonly Edge[]): Map<string, number> {
  const children = grouped(edges, "parent", "child");
  const waiting = new Map<string, number>(ids.map((id) => [id, 0]));
  for (const { child } of edges) waiting.set(child, (waiting.get(child) ?? 0) + 1);
  const layers = new Map<string, number>(ids.map((id) => [id, 0]));
  const free = ids.filter((id) => waiting.get(id) === 0);
  for (let next = free.pop(); next !== undefined; next = free.pop()) {
    for (const child of children.get(next) ?? []) {
      layers.set(child, Math.max(layers.get(child) ?? 0, (layers.get(next) ?? 0) + 1));
      const left = (waiting.get(child) ?? 0) - 1;
      waiting.set(child, left);
      if (left === 0) free.push(child);
    }
  }
  return layers;
}

function layered(ids: readonly string[], of: Map<string, number>): string[][] {
  const layers: string[][] = [];
  for (const id of ids) {
    const place = of.get(id) ?? 0;
    while (layers.length <= place) layers.push([]);
    layers[place]?.push(id);
  }
  return layers;
}

/** Sort each layer by where its neighbours stand, forth and back. */
function order(layers: string[][], edges: readonly Edge[]): void {
  const parents = grouped(edges, "child", "parent");
  const children = grouped(edges, "parent", "child");
  const rows = new Map<string, number>();
  const note = (layer: readonly string[]) => {
    for (const [row, id] of layer.entries()) rows.set(id, row);
  };
  layers.forEach(note);
  for (let sweep = 0; sweep < SWEEPS; sweep += 1) {
    const forth = sweep % 2 === 0;
    for (const layer of forth ? layers : layers.toReversed()) {
      const near = forth ? parents : children;
      const mean = new Map(layer.map((id, row) => [id, meanRow(near.get(id), rows) ?? row]));
      layer.sort((a, b) => (mean.get(a) ?? 0) - (mean.get(b) ?? 0) || (rows.get(a) ?? 0) - (rows.get(b) ?? 0));
      note(layer);
    }
  }
}

function meanRow(neighbours: readonly string[] | undefined, rows: ReadonlyMap<string, number>): number | undefined {
  if (!neighbours || neighbours.length === 0) return undefined;
  return neighbours.reduce((sum, id) => sum + (rows.get(id) ?? 0), 0) / neighbours.length;
}

function grouped(edges: readonly Edge[], by: keyof Edge, what: keyof Edge): Map<string, string[]> {
  const found = new Map<string, string[]>();
  for (const edge of edges) found.set(edge[by], [...(found.get(edge[by]) ?? []), edge[what]]);
  return found;
}

/** The line from a parent's right side to a child's left one. */
export function line(parent: Placed, child: Placed): string {
  const [x1, y1] = [parent.x + BOX.width, parent.y + BOX.height / 2];
  const [x2, y2] = [child.x, child.y + BOX.height / 2];
  const middle = (x1 + x2) / 2;
  return `M${x1},${y1} C${middle},${y1} ${middle},${y2} ${x2},${y2}`;
}
