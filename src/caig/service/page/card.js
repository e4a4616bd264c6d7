/** One ad as a card, and the parts of it that other views show too. */

import { call, download, picture } from "./api.js";
import { announce, button, h, icon, interval, percent } from "./dom.js";
import { lazy } from "./pictures.js";

const REASONS = 2; // on a card; the comparison shows all

export const isOriginal = (ad) => ad.kind === "original";
export const ctrName = (ad) => (ad.basis === "click log" ? "CTR" : "simulated CTR");
export const adName = (ad, rank) => (isOriginal(ad) ? "Original photo" : `Ad ${rank}`);

export function image(ad, name) {
  const alt = isOriginal(ad) ? "The original photo on white" : `${name}: ${ad.description}`;
  return lazy(() => picture(`/v1/creatives/${ad.id}/image`), alt, [ad.width, ad.height]);
}

/** A card; `acts` are what the view does: compare(ad), edit(ad), picked(ad). */
export function card({ ad, rank, parent, highest, file, fresh, acts }) {
  const name = adName(ad, rank);
  const flat = ad.width > 2 * ad.height; // a lock on its picture would hide it
  const key = isOriginal(ad) ? null : lock(ad, name);
  return h(
    "li",
    { class: `ad ${ad.kind} ${fresh ? "fresh" : ""}`, "data-id": ad.id },
    h(
      "article",
      { "aria-label": name },
      h("div", { class: "frame" }, image(ad, name), !flat && key),
      h(
        "div",
        { class: "about" },
        h(
          "div",
          { class: "title" },
          h("h3", {}, name, parent ? h("small", {}, ` edited from ad ${parent}`) : null),
          flat && key,
        ),
        prediction(ad, highest),
        isOriginal(ad)
          ? h("p", { class: "text" }, "As it is. Campaigns show it as their control.")
          : h("p", { class: "text" }, ad.description),
        reasons(ad.reasons, REASONS),
        broken(ad),
      ),
      actions(ad, name, file, acts),
    ),
  );
}

/** Predicted CTR, its interval, and both as a bar on a scale that ends at `highest`. */
export function prediction(ad, highest) {
  return h(
    "div",
    { class: "prediction" },
    h("p", { class: "ctr" }, h("strong", {}, percent(ad.ctr)), ` ${ctrName(ad)}`),
    bar(ad.ctr, ad.low, ad.high, highest),
    h("p", { class: "small" }, `95 % interval ${interval(ad.low, ad.high)}`),
  );
}

export function bar(value, low, high, highest) {
  const at = (number) => `${(100 * Math.min(1, number / highest)).toFixed(2)}%`;
  const range = h("i", { style: { left: at(low), width: at(high - low) } });
  return h("div", { class: "range", "aria-hidden": "true" }, range, h("b", { style: { left: at(value) } }));
}

export function reasons(found, most = 9) {
  if (!found.length) return null;
  return h("ul", { class: "reasons", "aria-label": "Why" }, found.slice(0, most).map(reason));
}

function reason({ words, value, others, unit, effect }) {
  const up = effect > 0;
  const worth = `${up ? "lifts" : "lowers"} it by ${Math.abs(effect).toFixed(2)} logits`;
  const title = `${value.toFixed(0)} against ${others.toFixed(0)} ${unit}; ${worth}`;
  return h(
    "li",
    { class: up ? "up" : "down", title },
    h("span", { class: "mark", "aria-hidden": "true" }, up ? "▲" : "▼"),
    words,
    h("span", { class: "unseen" }, `, ${worth}`),
  );
}

const broken = (ad) =>
  ad.broken.length ? h("p", { class: "notice warn" }, `Look closely: ${ad.broken.join(", ")}`) : null;

function lock(ad, name) {
  const press = async () => {
    const { locked } = await call("PATCH", `/v1/creatives/${ad.id}`, { locked: !ad.locked });
    ad.locked = locked;
    show();
    announce(`${name} ${locked ? "is locked" : "is no longer locked"}.`);
  };
  const node = h("button", { type: "button", class: "lock", "data-focus": `lock-${ad.id}`, onclick: press });
  const show = () => {
    node.replaceChildren(icon(ad.locked ? "closed" : "open"));
    node.setAttribute("aria-pressed", String(ad.locked));
    node.setAttribute("aria-label", `Lock ${name}`);
    node.title = ad.locked ? "Locked: let it go" : "Lock: this one is good";
  };
  show();
  return node;
}

function actions(ad, name, file, acts) {
  const act = (label, run, more = {}) =>
    button(label, run, {
      class: "quiet",
      "data-focus": `${label}-${ad.id}`,
      "aria-label": `${label} ${name}`,
      ...more,
    });
  const compare = act("Compare", () => acts.compare(ad), { "aria-pressed": String(acts.picked(ad)) });
  const save = act("PNG", () => download(`/v1/creatives/${ad.id}/image`, `${file}.png`), {
    "aria-label": `Download ${name} as PNG`,
  });
  if (isOriginal(ad)) return h("div", { class: "acts" }, compare, save);
  const layers = act("Layers", () => download(`/v1/creatives/${ad.id}/layers`, `${file}.ora`), {
    "aria-label": `Download ${name} with layers, as OpenRaster`,
    title: "OpenRaster: background, shadow and product",
  });
  return h(
    "div",
    { class: "acts" },
    compare,
    act("Edit", () => acts.edit(ad)),
    save,
    layers,
  );
}
