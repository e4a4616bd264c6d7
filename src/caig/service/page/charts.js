/** Two charts over time: whom the impressions go to, and how often each arm was clicked. */

import { h, percent, svg } from "./dom.js";

const HEIGHT = 200;
const PAD = { left: 44, right: 10, top: 10, bottom: 24 };
const ENOUGH = 20; // impressions from which on a rate is drawn

/** Shares of impressions, stacked; `history` are the versions of the allocation. */
export function shares(history, arms, names) {
  const [start, end] = [history[0].at, Math.max(Date.now(), history.at(-1).at + 1)];
  const now = arms.filter((arm) => arm.share).map((arm) => `${names.get(arm.creative_id)} ${percent(arm.share)}`);
  return chart("Share of impressions over time", `Now ${now.join(", ")}.`, arms, names, (plot, scale) => {
    const x = scale.time(start, end);
    let below = history.map(() => 0);
    arms.forEach(({ creative_id: id }, index) => {
      const above = history.map((version, k) => below[k] + (version.shares[id] ?? 0));
      plot.append(svg("path", { class: `area arm-${index % 8}`, d: band(history, x, scale.y(1), above, below, end) }));
      below = above;
    });
    axes(plot, scale, [0, 0.5, 1], 1, start, end);
  });
}

/** A band between two step lines. */
function band(history, x, y, above, below, end) {
  const edge = (values) =>
    values.flatMap((value, k) => [
      [x(history[k].at), y(value)],
      [x(history[k + 1]?.at ?? end), y(value)],
    ]);
  return `M${[...edge(above), ...edge(below).reverse()].map((point) => point.map((n) => n.toFixed(1)).join(",")).join("L")}Z`;
}

/** Clicks by impressions so far, a line an arm. */
export function rates(timeline, arms, names) {
  const lines = arms.map(({ creative_id: id }) => soFar(timeline.arms[id], timeline));
  const highest = Math.max(0.001, ...lines.flat().map(([, rate]) => rate)) * 1.15;
  const end = timeline.start + timeline.step * (Object.values(timeline.arms)[0]?.shown.length ?? 1);
  const told = lines
    .map((line, k) => line.length && `${names.get(arms[k].creative_id)} ${percent(line.at(-1)[1])}`)
    .filter(Boolean);
  const words = told.length ? `Now ${told.join(", ")}.` : `Drawn from ${ENOUGH} impressions of an arm on.`;
  return chart("CTR so far", words, arms, names, (plot, scale) => {
    const [x, y] = [scale.time(timeline.start, end), scale.y(highest)];
    lines.forEach((line, index) => {
      const d = line.map(([at, rate]) => `${x(at).toFixed(1)},${y(rate).toFixed(1)}`).join("L");
      if (d) plot.append(svg("path", { class: `line arm-${index % 8}`, d: `M${d}` }));
    });
    axes(plot, scale, [0, highest / 2, highest], highest, timeline.start, end);
  });
}

/** [[time, clicks / impressions up to then], …] */
function soFar(counts, { start, step }) {
  let [shown, clicks] = [0, 0];
  const points = (counts?.shown ?? []).map((number, k) => {
    shown += number;
    clicks += counts.clicks[k];
    return [start + step * (k + 1), clicks / shown, shown];
  });
  return points.filter(([, , number]) => number >= ENOUGH);
}

/** A figure that is drawn anew when its width changes. */
function chart(title, words, arms, names, draw) {
  const plot = svg("svg", { role: "img", "aria-label": `${title}. ${words}`, height: HEIGHT });
  const legend = h(
    "ul",
    { class: "legend", "aria-hidden": "true" },
    arms.map(({ creative_id: id }, k) => h("li", { class: `arm-${k % 8}` }, h("i", { class: "dot" }), names.get(id))),
  );
  const redraw = ([{ contentRect }]) => {
    const width = Math.max(200, Math.round(contentRect.width));
    plot.replaceChildren();
    plot.setAttribute("viewBox", `0 0 ${width} ${HEIGHT}`);
    draw(plot, scales(width));
  };
  const box = h(
    "figure",
    { class: "card chart" },
    h("figcaption", {}, title),
    h("div", { class: "plot" }, plot),
    legend,
  );
  new ResizeObserver(redraw).observe(box.querySelector(".plot"));
  return box;
}

function scales(width) {
  const inner = { width: width - PAD.left - PAD.right, height: HEIGHT - PAD.top - PAD.bottom };
  return {
    width,
    time: (start, end) => (at) => PAD.left + (inner.width * (at - start)) / Math.max(1, end - start),
    y: (highest) => (value) => PAD.top + inner.height * (1 - value / highest),
  };
}

function axes(plot, scale, ticks, highest, start, end) {
  const y = scale.y(highest);
  for (const tick of ticks) {
    plot.append(svg("line", { class: "grid", x1: PAD.left, x2: scale.width - PAD.right, y1: y(tick), y2: y(tick) }));
    plot.append(svg("text", { class: "tick", x: PAD.left - 8, y: y(tick) + 4, "text-anchor": "end" }, percent(tick)));
  }
  const day = end - start > 86_400_000;
  const told = (at) =>
    new Date(at).toLocaleString([], day ? { day: "numeric", month: "short" } : { hour: "2-digit", minute: "2-digit" });
  plot.append(svg("text", { class: "tick", x: PAD.left, y: HEIGHT - 6 }, told(start)));
  plot.append(
    svg("text", { class: "tick", x: scale.width - PAD.right, y: HEIGHT - 6, "text-anchor": "end" }, told(end)),
  );
}
