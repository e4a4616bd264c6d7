/** A campaign's arms: what is known of each, and what may be done with it. */

import { bar, isOriginal } from "./card.js";
import { button, h, interval, percent } from "./dom.js";

/** One row an arm; `view.act(method, path, body)` changes the campaign. */
export function arms(view, stats, timeline, names) {
  const highest = Math.max(0.001, ...stats.arms.filter(known).map(({ ctr }) => ctr.high));
  const rows = stats.arms.map((arm, index) =>
    row(view, stats, arm, index, timeline.arms[arm.creative_id], names, highest),
  );
  return h("section", { "aria-labelledby": "arms" }, h("h2", { id: "arms" }, "Arms"), h("ul", { class: "arms" }, rows));
}

const known = (arm) => arm.ctr.n > 0 && Number.isFinite(arm.ctr.high);
const sum = (numbers) => numbers.reduce((a, b) => a + b, 0);

function row(view, stats, arm, index, counts, names, highest) {
  const ad = view.ads.get(arm.creative_id);
  const name = names.get(arm.creative_id);
  const [shown, clicks] = counts ? [sum(counts.shown), sum(counts.clicks)] : [0, 0];
  return h(
    "li",
    { class: `arm arm-${index % 8} ${arm.share ? "" : "retired"}` },
    view.frames.get(arm.creative_id),
    h(
      "div",
      { class: "who" },
      h("h3", {}, h("i", { class: "dot", "aria-hidden": "true" }), name),
      h("p", { class: "text" }, ad.description || "As it is"),
      h("p", { class: "small" }, verdict(arm)),
    ),
    h(
      "dl",
      {},
      fact("Share now", arm.share ? percent(arm.share) : "retired"),
      fact("Shown", shown.toLocaleString("en")),
      fact("Clicked", clicks.toLocaleString("en")),
      fact("CTR so far", shown ? percent(clicks / shown) : "–"),
    ),
    proven(arm, highest),
    stats.running && !isOriginal(ad) ? acts(view, arm, name) : h("div", { class: "acts" }),
  );
}

const fact = (name, value) => h("div", {}, h("dt", {}, name), h("dd", {}, value));
const verdict = (arm) => arm.reason[0].toUpperCase() + arm.reason.slice(1);

/** The CTR's confidence sequence: it holds whenever one looks. */
function proven(arm, highest) {
  if (!known(arm))
    return h(
      "div",
      { class: "proven" },
      h("p", { class: "small" }, "Nothing proven yet: no impression's time for clicks is over."),
    );
  const { value, low, high } = arm.ctr;
  const lead = arm.lead
    ? h("p", { class: "small" }, `Lead over the original ${signed(arm.lead.low)} to ${signed(arm.lead.high)}`)
    : null;
  return h(
    "div",
    { class: "proven" },
    h("p", {}, h("strong", {}, percent(value)), " proven CTR"),
    bar(value, low, high, highest),
    h("p", { class: "small" }, `${interval(low, high)}, whenever one looks`),
    lead,
  );
}

const signed = (rate) => `${rate < 0 ? "−" : "+"}${(100 * Math.abs(rate)).toPrecision(2)} points`;

function acts(view, arm, name) {
  const id = arm.creative_id;
  const promote = button(
    "Promote",
    () =>
      confirm(`Show only ${name} and the original from now on?`) && view.act("POST", "/promote", { creative_id: id }),
    {
      class: "secondary",
      disabled: !arm.promote,
      title: arm.promote ? "" : arm.reason,
      "aria-label": `Promote ${name}`,
      "data-focus": `promote-${id}`,
    },
  );
  const retire = button("Retire", () => confirm(`Show ${name} no more?`) && view.act("DELETE", `/arms/${id}`), {
    class: "quiet",
    disabled: !arm.share,
    "aria-label": `Retire ${name}`,
    "data-focus": `retire-${id}`,
  });
  return h("div", { class: "acts" }, promote, retire);
}
