import { useEffect, useRef } from "react";
import uPlot from "uplot";
import "uplot/dist/uPlot.min.css";
import { count, timeOfDay } from "./format";
import { clock, colourOf, useTheme } from "./theme";

/** The colours that series may have; what they are, the theme says. */
export type Tone = "accent" | "good" | "bad" | "warn" | "wait" | "muted";

export interface Series {
  label: string;
  tone: Tone;
  values: readonly (number | null)[];
  /** Bars from the ground up; left out: a line. */
  bars?: boolean;
}

interface Props {
  /** What it shows, in a sentence, for those who do not see it. */
  label: string;
  /** In seconds since 1970. */
  times: readonly number[];
  series: readonly Series[];
  /** How a value reads. */
  format?: (value: number) => string;
  height?: number;
}

/** Values over time. Loaded when a screen has one: `lazy(() => import("../../ui/Chart"))`. */
export default function Chart({ label, times, series, format = count, height = 180 }: Props) {
  const box = useRef<HTMLDivElement>(null);
  const theme = useTheme();
  const shape = series.map((one) => `${one.label} ${one.tone} ${one.bars}`).join("|");
  const plot = useRef<uPlot | null>(null);
  const data = [times, ...series.map((one) => one.values)] as unknown as uPlot.AlignedData;
  const latest = useRef({ data, series, format });
  latest.current = { data, series, format };
  // biome-ignore lint/correctness/useExhaustiveDependencies: drawn anew for another theme or other series only
  useEffect(() => {
    const place = box.current;
    if (!place) return;
    const options = optionsOf(latest.current.series, (value) => latest.current.format(value), height, place);
    const made = new uPlot(options, latest.current.data, place);
    plot.current = made;
    const watcher = new ResizeObserver(() => made.setSize({ width: place.clientWidth, height }));
    watcher.observe(place);
    return () => {
      watcher.disconnect();
      made.destroy();
      plot.current = null;
    };
  }, [shape, height, theme]);
  useEffect(() => plot.current?.setData(data));
  return <div ref={box} role="img" aria-label={label} className="min-w-0" />;
}

function optionsOf(
  series: readonly Series[],
  format: (value: number) => string,
  height: number,
  place: Element,
): uPlot.Options {
  const color = (name: string) => colourOf(place, name);
  const axis = {
    stroke: color("muted"),
    grid: { stroke: color("line"), width: 1 },
    ticks: { show: false },
    font: "11px system-ui",
  };
  return {
    width: Math.max(place.clientWidth, 100),
    height,
    padding: [8, 18, 0, 0], // half of a time's label stands right of the last one
    cursor: { y: false, points: { size: 6 } },
    legend: { live: true },
    scales: { y: { range: (_, __, most) => [0, Math.max(most * 1.1, 1)] } },
    axes: [
      {
        ...axis,
        size: 30,
        values: (_, ticks) => ticks.map(clock),
      },
      { ...axis, size: 56, values: (_, ticks) => ticks.map(format) },
    ],
    series: [
      { label: "Time", value: (_, time) => (time === null ? "–" : timeOfDay(new Date(time * 1000))) },
      ...series.map((one) => ({
        label: one.label,
        stroke: color(one.tone),
        width: one.bars ? 0 : 1.5,
        ...(one.bars && {
          fill: color(one.tone),
          paths: uPlot.paths.bars?.({ size: [0.8, 24], align: 1 }) as uPlot.Series.PathBuilder,
        }),
        points: { show: false },
        value: (_: uPlot, value: number | null) => (value === null ? "–" : format(value)),
      })),
    ],
  };
}
