/** Two ads side by side. */

import { image, prediction, reasons } from "./card.js";
import { button, dialog, h, percent } from "./dom.js";

/** The bar at the lower edge that says what was picked. */
export function tray(open, clear) {
  const words = h("p", { role: "status" });
  const go = button("Compare side by side", open, { class: "primary" });
  const bar = h(
    "aside",
    { class: "tray", "aria-label": "Comparison", hidden: true },
    words,
    go,
    button("Clear", clear, { class: "quiet" }),
  );
  bar.show = (names) => {
    bar.hidden = !names.length;
    go.disabled = names.length < 2;
    words.textContent = names.length < 2 ? `${names[0] ?? ""}: pick one more` : names.join(" and ");
  };
  return bar;
}

/** `pair` are two { ad, name }. */
export function compare(pair, title) {
  const highest = Math.max(...pair.map(({ ad }) => ad.high));
  const side = ({ ad, name }, index) =>
    h(
      "section",
      { "aria-label": name },
      h("div", { class: "frame" }, image(ad, name)),
      h("h3", {}, name),
      prediction(ad, highest),
      h(
        "p",
        { class: "chance" },
        `Clicked more than the other with a chance of ${percent(chance(pair[index].ad, pair[1 - index].ad))}`,
      ),
      reasons(ad.reasons),
      h("p", { class: "text" }, ad.description),
      h("p", { class: "small" }, `Made by ${made(ad)}`),
    );
  return dialog(title, () => h("div", { class: "sides" }, pair.map(side)), { wide: true });
}

/** The models' names, and the seed. */
function made(ad) {
  const names = Object.entries(ad.models).map(([role, { name }]) => `${name} (${role})`);
  return [...names, ...(ad.kind === "original" ? [] : [`seed ${ad.seed}`])].join(", ");
}

/** sigmoid(u_a - u_b), what the reward model says of a pair. */
const chance = (a, b) => 1 / (1 + Math.exp(b.utility - a.utility));
