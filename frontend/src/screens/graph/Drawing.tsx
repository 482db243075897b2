import { Link } from "@tanstack/react-router";
import { useEffect, useMemo, useRef } from "react";
import type { Schema } from "../../api/client";
import { cx, short, words } from "../../ui";
import { BOX, type Layout, layout, line, type Placed, scrolledTo } from "./layout";

type Graph = Schema["Graph"];
type Node = Graph["nodes"][number];

const FILLS: Record<string, string> = {
  pending: "fill-sunken stroke-edge",
  queued: "fill-wait-soft stroke-wait",
  running: "fill-accent-soft stroke-accent",
  completed: "fill-good-soft stroke-good",
  dead_letter: "fill-bad-soft stroke-bad",
  canceled: "fill-sunken stroke-muted",
};
const SIGNS: Record<string, string> = {
  pending: "◌",
  queued: "○",
  running: "●",
  completed: "✓",
  dead_letter: "✗",
  canceled: "⊘",
};
const LONGEST = 22; // characters in a box

/** The graph as a picture; each job is a link. */
export function Drawing({ graph, organization, zoom }: { graph: Graph; organization: string; zoom: number }) {
  const shape = `${graph.nodes.map(({ id }) => id).join()} ${graph.edges.length}`;
  // biome-ignore lint/correctness/useExhaustiveDependencies: statuses change, and move nothing
  const placed = useMemo(
    () =>
      layout(
        graph.nodes.map(({ id }) => id),
        graph.edges,
      ),
    [shape],
  );
  const box = useRef<HTMLElement>(null);
  const picture = useRef<SVGSVGElement>(null);
  useCentre(box, picture, placed, graph.job, zoom);
  const nodes = new Map(graph.nodes.map((node) => [node.id, node]));
  return (
    <section
      ref={box}
      // biome-ignore lint/a11y/noNoninteractiveTabindex: a region that scrolls has to be reachable by keyboard
      tabIndex={0}
      aria-label="Dependencies, from left to right"
      className="max-h-[75dvh] overflow-auto"
    >
      <svg
        ref={picture}
        width={placed.width * zoom}
        height={placed.height * zoom}
        viewBox={`0 0 ${placed.width} ${placed.height}`}
        className="mx-auto block box-content"
      >
        <title>Jobs and what they wait for</title>
        <defs>
          <Arrow id="arrow" className="fill-edge" />
          <Arrow id="arrow-failed" className="fill-bad" />
        </defs>
        <g fill="none">
          {graph.edges.map(({ parent, child }) => {
            const [from, to] = [placed.nodes.get(parent), placed.nodes.get(child)];
            const failed = nodes.get(parent)?.status === "dead_letter" || nodes.get(parent)?.status === "canceled";
            return (
              from &&
              to && (
                <path
                  key={`${parent} ${child}`}
                  d={line(from, to)}
                  strokeWidth={1.5}
                  markerEnd={failed ? "url(#arrow-failed)" : "url(#arrow)"}
                  className={failed ? "stroke-bad" : "stroke-edge"}
                />
              )
            );
          })}
        </g>
        {graph.nodes.map((node) => {
          const at = placed.nodes.get(node.id);
          return (
            at && (
              <Box
                key={node.id}
                node={node}
                at={at}
                organization={organization}
                isMiddle={node.id === graph.job}
                isFirstFailed={node.id === graph.first_failed}
              />
            )
          );
        })}
      </svg>
    </section>
  );
}

/** The end of a line, at the job that waits. */
function Arrow({ id, className }: { id: string; className: string }) {
  return (
    <marker id={id} viewBox="0 0 8 8" refX={8} refY={4} markerWidth={6} markerHeight={6} orient="auto">
      <path d="M0,0 L8,4 L0,8 z" className={className} />
    </marker>
  );
}

interface BoxProps {
  node: Node;
  at: Placed;
  organization: string;
  isMiddle: boolean;
  isFirstFailed: boolean;
}

function Box({ node, at, organization, isMiddle, isFirstFailed }: BoxProps) {
  return (
    <Link to="/o/$organization/jobs/$job" params={{ organization, job: node.id }}>
      <g transform={`translate(${at.x},${at.y})`}>
        <rect
          width={BOX.width}
          height={BOX.height}
          rx={7}
          strokeWidth={isMiddle || isFirstFailed ? 3 : 1}
          className={FILLS[node.status] ?? "fill-sunken stroke-edge"}
        />
        <text x={12} y={19} className="fill-ink text-[12px] font-medium">
          {cut(node.job_type)}
        </text>
        <text x={12} y={35} className="fill-ink text-[11px]">
          {SIGNS[node.status] ?? "·"} {words(node.status)}
        </text>
        <text
          x={BOX.width - 10}
          y={35}
          textAnchor="end"
          className={cx("fill-muted font-mono text-[10px]", node.status === "dead_letter" && "fill-bad")}
        >
          {isFirstFailed ? "began here" : short(node.id)}
        </text>
      </g>
    </Link>
  );
}

function cut(text: string): string {
  return text.length > LONGEST ? `${text.slice(0, LONGEST - 1)}…` : text;
}

/** Show the job in the middle, once it stands somewhere. */
function useCentre(
  box: React.RefObject<HTMLElement | null>,
  picture: React.RefObject<SVGSVGElement | null>,
  placed: Layout,
  job: string,
  zoom: number,
) {
  useEffect(() => {
    const at = placed.nodes.get(job);
    const element = box.current;
    if (!at || !element || !picture.current) return;
    const left = scrolledTo(placed, at, zoom, element.clientWidth);
    const room = left === 0 ? 0 : Math.max(0, left + element.clientWidth - placed.width * zoom);
    picture.current.style.paddingRight = `${room}px`;
    element.scrollLeft = left;
    element.scrollTop = (at.y + BOX.height / 2) * zoom - element.clientHeight / 2;
  }, [box, picture, placed, job, zoom]);
}
