/** Campaigns: start one, list them, and watch one live. */

import { call, get } from "./api.js";
import { adName, image, isOriginal } from "./card.js";
import { arms } from "./arms.js";
import { rates, shares } from "./charts.js";
import { button, count, dialog, field, h, keepingFocus, notice, percent, select } from "./dom.js";
import { submitting } from "./home.js";
import { wait } from "./jobs.js";

const EVERY = 5000; // ms between two looks at a campaign
const POLICIES = [
  ["thompson", "By its chance of being the best (Thompson)"],
  ["epsilon-greedy", "All to the best so far (greedy)"],
  ["uniform", "Equally (uniform)"],
];

/** Ask which of the ads of one size shall run; locked ones are chosen already, or all where none is. */
export function newCampaign(product, ads, rank) {
  const generated = ads.filter((ad) => !isOriginal(ad));
  const locked = generated.some((ad) => ad.locked);
  const boxes = generated.map((ad) => choice(ad, adName(ad, rank.get(ad.id)), ad.locked || !locked));
  const policy = select(POLICIES, "thompson");
  const minutes = h("input", { type: "number", min: 1, max: 10080, value: 30, required: true, inputmode: "numeric" });
  const status = h("div", {});
  const send = (close) => async (event) => {
    event.preventDefault();
    await submitting(event.target, status, async () => {
      const creatives = boxes
        .map((box) => box.querySelector("input"))
        .filter((box) => box.checked)
        .map((box) => box.value);
      const body = {
        product_id: product.id,
        creatives,
        policy: policy.value,
        click_window: 60 * Number(minutes.value),
      };
      const { campaign: id } = await call("POST", "/v1/campaigns", body);
      close();
      location.hash = `#/campaigns/${id}`;
    });
  };
  const form = (close) =>
    h(
      "form",
      { class: "stack", onsubmit: send(close) },
      h("fieldset", { class: "choices" }, h("legend", {}, "Ads"), boxes),
      h("p", { class: "small" }, "The original photo is always in: the others are held against it."),
      field("An ad's share of impressions", policy),
      field(
        "Minutes that a click counts",
        minutes,
        "After a decision. What is proven counts impressions whose time is over.",
      ),
      status,
      h("div", { class: "actions" }, button("Start", null, { type: "submit", class: "primary" })),
    );
  return dialog("Start a campaign", form);
}

function choice(ad, name, checked) {
  return h(
    "label",
    { class: "choice" },
    h("input", { type: "checkbox", value: ad.id, checked }),
    image(ad, ""),
    h("span", {}, name, h("small", {}, ` ${percent(ad.ctr)} predicted`)),
  );
}

export async function campaigns() {
  const [running, stopped] = await Promise.all([list(""), list("?stopped=true")]);
  const empty = h("p", { class: "empty" }, "No campaign runs. Open a product and start one with its ads.");
  const over = stopped.length
    ? h("section", { "aria-labelledby": "stopped" }, h("h2", { id: "stopped" }, "Stopped"), tiles(stopped.reverse()))
    : null;
  return [
    h("header", { class: "head" }, h("h1", {}, "Campaigns"), h("p", { class: "lead" }, "Running now.")),
    running.length ? tiles(running) : empty,
    ...(over ? [over] : []),
  ];
}

/** Campaigns with their products' titles. */
async function list(query) {
  const { items } = await get(`/v1/campaigns${query}`);
  return Promise.all(items.map(async (one) => ({ ...one, title: (await get(`/v1/products/${one.product}`)).title })));
}

const tiles = (found) => h("ul", { class: "products" }, found.map(tile));

function tile({ campaign: id, title, probabilities, policy }) {
  const about = `${count(Object.keys(probabilities).length, "arm")}, ${policy}`;
  return h(
    "li",
    {},
    h("a", { class: "tile", href: `#/campaigns/${id}` }, h("span", {}, h("strong", {}, title), h("small", {}, about))),
  );
}

export async function campaign(signal, id) {
  const view = {
    path: `/v1/campaigns/${id}`,
    history: [],
    ads: new Map(),
    frames: new Map(),
    body: h("div", { class: "campaign" }),
    trouble: h("div", {}),
  };
  view.act = (method, path, body) => act(view, method, path, body);
  const first = await load(view);
  const product = await get(`/v1/products/${first.stats.product}`);
  draw(view, first);
  live(view, signal);
  const link = h("a", { href: `#/products/${product.id}` }, "All its ads");
  return [
    h(
      "header",
      { class: "head" },
      h("h1", {}, product.title),
      h("p", { class: "lead" }, "Campaign ", h("code", {}, id), ". ", link),
    ),
    view.trouble,
    view.body,
  ];
}

/** What is known now: of the history only what is new, and the ads again when an arm was launched. */
async function load(view) {
  const { path, ads } = view;
  const [stats, timeline] = await Promise.all([get(`${path}/stats`), get(`${path}/timeline`), versions(view)]);
  if (stats.arms.some((arm) => !ads.has(arm.creative_id))) {
    const { items } = await get(`/v1/products/${stats.product}/creatives`);
    for (const ad of items) ads.set(ad.id, ad);
  }
  return { stats, timeline };
}

async function versions({ path, history }) {
  for (;;) {
    const since = history.at(-1)?.version ?? 0;
    const { items } = await get(`${path}/allocations?since=${since}`);
    if ((history.at(-1)?.version ?? 0) === since) history.push(...items); // else another look was faster
    if (items.length < 1000) return;
  }
}

async function live(view, signal) {
  for (;;) {
    await wait(signal, EVERY);
    if (signal.aborted) return;
    if (!document.hidden) await again(view);
  }
}

async function again(view) {
  try {
    draw(view, await load(view));
    view.trouble.replaceChildren();
  } catch (error) {
    view.trouble.replaceChildren(notice(error.message, "bad"));
  }
}

async function act(view, method, path, body) {
  try {
    await call(method, `${view.path}${path}`, body);
  } catch (error) {
    view.trouble.replaceChildren(notice(error.message, "bad"));
    return;
  }
  await again(view);
}

function draw(view, { stats, timeline }) {
  const names = namesOf(stats, view.ads);
  for (const [id, name] of names)
    if (!view.frames.has(id)) view.frames.set(id, h("div", { class: "frame" }, image(view.ads.get(id), name)));
  const charts = h(
    "div",
    { class: "charts" },
    shares(view.history, stats.arms, names),
    rates(timeline, stats.arms, names),
  );
  keepingFocus(() =>
    view.body.replaceChildren(totals(view, stats, timeline), ...fit(stats), charts, arms(view, stats, timeline, names)),
  );
}

/** Creative id -> its name: the original, then ads by their number in the campaign. */
const namesOf = (stats, ads) => new Map(stats.arms.map(({ creative_id: id }, k) => [id, adName(ads.get(id), k)]));

const sum = (numbers) => numbers.reduce((a, b) => a + b, 0);

function totals(view, stats, timeline) {
  const all = Object.values(timeline.arms);
  const [shown, clicks] = [sum(all.map((arm) => sum(arm.shown))), sum(all.map((arm) => sum(arm.clicks)))];
  const left = sum(Object.values(stats.events).map((of) => (of.bot ?? 0) + (of.unknown ?? 0) + (of.late ?? 0)));
  const tile = (name, value) => h("div", {}, h("dt", {}, name), h("dd", {}, value));
  const facts = h(
    "dl",
    { class: "totals" },
    tile("Impressions", shown.toLocaleString("en")),
    tile("Clicks", clicks.toLocaleString("en")),
    tile("CTR", shown ? percent(clicks / shown) : "–"),
    tile("Kept, not counted", left.toLocaleString("en")),
    tile("Version of shares", String(stats.version)),
  );
  const stop = button(
    "Stop",
    () => confirm("Stop this campaign? It shows no more; clicks still count.") && view.act("DELETE", ""),
    { class: "secondary", "data-focus": "stop" },
  );
  return h("div", { class: "summary" }, facts, stats.running ? stop : h("p", { class: "tag" }, "Stopped"));
}

const fit = (stats) =>
  stats.fits
    ? []
    : [
        notice(
          "Arms were not shown as often as drawn: impressions may be missing. Nothing is promoted until this is mended.",
          "bad",
        ),
      ];
