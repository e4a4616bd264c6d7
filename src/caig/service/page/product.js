/** One product: its jobs as they go on, and its ads, ranked. */

import { all, call, get, picture } from "./api.js";
import { adName, card, ctrName, isOriginal } from "./card.js";
import { newCampaign } from "./campaigns.js";
import { compare, tray } from "./compare.js";
import { announce, button, count, dialog, field, h, keepingFocus, notice, percent } from "./dom.js";
import { formatName, jobFields } from "./form.js";
import { submitting } from "./home.js";
import { follow, isActive } from "./jobs.js";
import { lazy } from "./pictures.js";

export async function product(signal, id) {
  const [about, jobs] = await Promise.all([get(`/v1/products/${id}`), all(`/v1/jobs?product_id=${id}`)]);
  const groups = h("div", { class: "groups" });
  const view = { id, about, signal, groups, jobs: h("div", { class: "jobs" }), picks: [], ads: [], seen: null };
  view.tray = tray(
    () =>
      compare(
        view.picks.map((pick) => named(view, pick)),
        about.title,
      ),
    () => pick(view, null),
  );
  await refresh(view);
  for (const job of jobs.filter(isActive)) track(view, job);
  const last = jobs.at(-1);
  if (last?.status === "failed") view.jobs.append(notice(last.message, "bad"));
  const idle = !view.ads.length && !jobs.some(isActive);
  return [head(about), await another(view, idle), view.jobs, groups, view.tray];
}

function head({ id, title, category }) {
  const photo = lazy(() => picture(`/v1/products/${id}/photo`), "The product's photo");
  return h(
    "header",
    { class: "head with-photo" },
    photo,
    h("div", {}, h("h1", {}, title), category ? h("p", { class: "lead" }, category) : null),
  );
}

/** The form for another round. */
async function another(view, open) {
  const [fields, body] = await jobFields();
  const status = h("div", {});
  const send = async (event) => {
    event.preventDefault();
    await submitting(event.target, status, async () => {
      track(view, await call("POST", `/v1/products/${view.id}/creatives`, body()));
      box.open = false;
    });
  };
  const form = h(
    "form",
    { class: "stack", onsubmit: send },
    fields,
    status,
    h("div", { class: "actions" }, button("Make ads", null, { type: "submit", class: "primary" })),
  );
  const box = h("details", { class: "card another", open }, h("summary", {}, "Make more ads"), form);
  return box;
}

/** Show a job until it ends, then what it made. */
function track(view, job) {
  follow(job, view.jobs, view.signal, async () => {
    const before = new Set(view.ads.map((ad) => ad.id));
    await refresh(view);
    const fresh = view.ads.filter((ad) => !before.has(ad.id) && !isOriginal(ad));
    if (fresh.length)
      announce(`${count(fresh.length, "new ad")}. Best: ${percent(fresh[0].ctr)} ${ctrName(fresh[0])}.`);
    else view.jobs.append(h("div", { role: "status" }, notice("Nothing new: these ads were there already.")));
  });
}

async function refresh(view) {
  const { items } = await get(`/v1/products/${view.id}/creatives`);
  view.seen = view.seen && new Set(view.ads.map((ad) => ad.id));
  view.ads = items;
  const groups = await Promise.all(bySize(items).map((ads) => group(view, ads)));
  keepingFocus(() => view.groups.replaceChildren(...simulated(items), ...groups));
  view.seen ??= new Set();
}

const simulated = (ads) =>
  ads.length && ads[0].basis !== "click log"
    ? [
        notice(
          "Simulated CTR: the reward model learned from simulated shoppers. Use it to compare pictures of one product, not to forecast traffic.",
        ),
      ]
    : [];

/** Ads of one size each, those with the newest ad first; in each the original comes last. */
function bySize(ads) {
  const sizes = Map.groupBy(ads, (ad) => `${ad.width}x${ad.height}`);
  const newest = (group) => Math.max(...group.map((ad) => ad.created_at));
  const sorted = [...sizes.values()].sort((a, b) => newest(b) - newest(a));
  return sorted.map((group) => [...group.filter((ad) => !isOriginal(ad)), ...group.filter(isOriginal)]);
}

async function group(view, ads) {
  const [{ width, height }] = ads;
  const highest = Math.max(...ads.map((ad) => ad.high));
  const rank = new Map(ads.map((ad, index) => [ad.id, index + 1]));
  const acts = {
    compare: (ad) => pick(view, ad),
    picked: (ad) => view.picks.includes(ad.id),
    edit: (ad) => edit(view, ad, rank.get(ad.id)),
  };
  const cards = ads.map((ad) => {
    const file = `${slug(view.about.title)}-${isOriginal(ad) ? "original" : rank.get(ad.id)}`;
    const fresh = view.seen?.size > 0 && !view.seen.has(ad.id);
    return card({ ad, rank: rank.get(ad.id), parent: rank.get(ad.parent), highest, file, fresh, acts });
  });
  const start = button("Start a campaign", () => newCampaign(view.about, ads, rank), {
    class: "secondary",
    "data-focus": `start-${width}x${height}`,
  });
  const format = await formatName(width, height);
  const heading = h("h2", {}, format, h("small", {}, ` ${width} × ${height}`));
  const kind = width > 2 * height ? "flat" : width < 0.6 * height ? "tall" : "";
  return h(
    "section",
    { class: `group ${kind}`, "aria-label": `${format} ${width} × ${height}` },
    h("header", {}, heading, start),
    h("ol", { class: "ads" }, cards),
  );
}

const slug = (title) =>
  title
    .toLowerCase()
    .replace(/[^\p{L}\p{N}]+/gu, "-")
    .replace(/^-|-$/g, "")
    .slice(0, 60) || "ad";

/** The ad with its name in its group. */
function named(view, id) {
  const ad = view.ads.find((one) => one.id === id);
  const siblings = view.ads.filter((one) => one.width === ad.width && one.height === ad.height && !isOriginal(one));
  const size = view.groups.querySelectorAll(".group").length > 1 ? `, ${ad.width} × ${ad.height}` : "";
  return { ad, name: `${adName(ad, siblings.indexOf(ad) + 1)}${size}` };
}

/** Mark an ad for comparison, or unmark it; a third takes the place of the first. None: unmark all. */
function pick(view, ad) {
  const without = view.picks.filter((id) => ad && id !== ad.id);
  view.picks = !ad || view.picks.includes(ad.id) ? without : [...without, ad.id].slice(-2);
  for (const node of view.groups.querySelectorAll(".ad")) {
    const chosen = view.picks.includes(node.dataset.id);
    node.classList.toggle("picked", chosen);
    node.querySelector("[data-focus^=Compare]").setAttribute("aria-pressed", String(chosen));
  }
  view.tray.show(view.picks.map((id) => named(view, id).name));
}

function edit(view, ad, rank) {
  const text = h("textarea", { required: true, maxlength: 500, rows: 5, autofocus: true });
  text.value = ad.description;
  const status = h("div", {});
  const form = (close) =>
    h(
      "form",
      {
        class: "stack",
        onsubmit: async (event) => {
          event.preventDefault();
          await submitting(event.target, status, async () => {
            const seed = crypto.getRandomValues(new Uint32Array(1))[0];
            track(view, await call("POST", `/v1/creatives/${ad.id}/repaint`, { description: text.value, seed }));
            close();
          });
        },
      },
      field("Description of the background", text, "The old ad stays; the new one stands beside it."),
      status,
      h("div", { class: "actions" }, button("Repaint", null, { type: "submit", class: "primary" })),
    );
  return dialog(`Edit ad ${rank}`, form);
}
