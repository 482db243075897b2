import { useEffect, useRef, useState } from "react";
import uPlot from "uplot";
import "uplot/dist/uPlot.min.css";
import { clock, colourOf, useTheme } from "../../ui/theme";
import { type Area, stacked } from "./shares";

const HEIGHT = 240;
const TOLD = 5; // organizations named for the minute that is pointed at

/** Shares of the workers' time, one above the other. What it shows stands in the table below it, too. */
export function ShareChart({ minutes, areas }: { minutes: readonly string[]; areas: readonly Area[] }) {
  const box = useRef<HTMLDivElement>(null);
  const chart = useRef<uPlot | null>(null);
  const [place, setPlace] = useState<number | null>(null);
  const names = areas.map(({ name }) => name).join("\n");
  const theme = useTheme();
  // biome-ignore lint/correctness/useExhaustiveDependencies: made anew for other organizations, and for other colours of the page
  useEffect(() => {
    const element = box.current;
    if (!element) return;
    const made = new uPlot(optionsOf(areas, element, setPlace), dataOf(minutes, areas), element);
    chart.current = made;
    const sizes = new ResizeObserver(() => made.setSize({ width: element.clientWidth, height: HEIGHT }));
    sizes.observe(element);
    return () => {
      sizes.disconnect();
      made.destroy();
      chart.current = null;
    };
  }, [names, theme]);
  useEffect(() => chart.current?.setData(dataOf(minutes, areas)), [minutes, areas]);
  return (
    <figure className="flex flex-col gap-2">
      <figcaption className="min-h-5 text-xs text-muted">
        {place === null
          ? "Part of the workers' time, by the minute in which attempts ended."
          : told(minutes[place], areas, place)}
      </figcaption>
      <div
        ref={box}
        role="img"
        aria-label={`Shares of the workers' time of ${areas.length} organizations over the last ${minutes.length} minutes; the table below has the numbers`}
      />
    </figure>
  );
}

function dataOf(minutes: readonly string[], areas: readonly Area[]): uPlot.AlignedData {
  return [minutes.map((at) => new Date(at).getTime() / 1000), ...stacked(areas)];
}

function optionsOf(
  areas: readonly Area[],
  element: HTMLElement,
  onPoint: (place: number | null) => void,
): uPlot.Options {
  const style = getComputedStyle(element);
  const axis = {
    stroke: colourOf(element, "muted"),
    grid: { stroke: colourOf(element, "line"), width: 1 },
    ticks: { show: false },
    font: `11px ${style.fontFamily}`,
  };
  return {
    width: element.clientWidth,
    height: HEIGHT,
    padding: [8, 20, 0, 0],
    legend: { show: false },
    cursor: { y: false, points: { show: false }, drag: { x: false, y: false } },
    scales: { y: { range: [0, 100] } },
    axes: [
      { ...axis, size: 28, values: (_, ticks) => ticks.map(clock) },
      { ...axis, size: 44, values: (_, ticks) => ticks.map((tick) => `${tick} %`) },
    ],
    series: [
      {},
      ...areas.toReversed().map(({ name, colour: fill }) => ({
        label: name,
        fill,
        width: 0,
        ...(bars && { paths: bars }),
        points: { show: false },
      })),
    ],
    hooks: { setCursor: [(plot) => onPoint(plot.cursor.idx ?? null)] },
  };
}

/** One bar a minute: it is known for minutes only, and lines between them would tell what nobody knows. */
const bars = uPlot.paths.bars?.({ size: [0.9, Number.POSITIVE_INFINITY], align: 1 });

function told(at: string | undefined, areas: readonly Area[], place: number): string {
  const used = areas
    .map(({ name, percent }) => ({ name, part: percent[place] ?? 0 }))
    .filter(({ part }) => part >= 0.5);
  const largest = used.sort((a, b) => b.part - a.part).slice(0, TOLD);
  const time = at ? clock(Date.parse(at) / 1000) : "";
  return largest.length === 0
    ? `${time}: nothing ended`
    : `${time}: ${largest.map(({ name, part }) => `${name} ${Math.round(part)} %`).join(", ")}`;
}
