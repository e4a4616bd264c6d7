/** The first view: a new product, and those that there are. */

import { all, call, picture } from "./api.js";
import { announce, button, count, field, h, icon, notice } from "./dom.js";
import { jobFields } from "./form.js";
import { lazy } from "./pictures.js";

const AT_ONCE = 24; // products shown before one asks for more

export async function home() {
  const [form, products] = await Promise.all([newProduct(), all("/v1/products")]);
  return [
    h("header", { class: "head" }, h("h1", {}, "Ads from a product photo"), lead()),
    h("div", { class: "split" }, form, shelf(products.reverse())),
  ];
}

const lead = () =>
  h(
    "p",
    { class: "lead" },
    "The product's own pixels stay as they are. A background is written, painted around it and judged.",
  );

async function newProduct() {
  const title = h("input", { required: true, maxlength: 500, autocomplete: "off", name: "title" });
  const category = h("input", { maxlength: 500, autocomplete: "off", name: "category" });
  const [photo, zone] = dropZone();
  const mask = h("input", { type: "file", accept: "image/png,image/jpeg,image/webp" });
  const [fields, body] = await jobFields();
  const status = h("div", {});
  const send = async (event) => {
    event.preventDefault();
    await submitting(event.target, status, async () => {
      const made = await upload({ title: title.value, category: category.value, photo: photo(), mask: mask.files[0] });
      await call("POST", `/v1/products/${made.id}/creatives`, body());
      announce("The painter has it.");
      location.hash = `#/products/${made.id}`;
    });
  };
  return h(
    "form",
    { class: "card stack", onsubmit: send, "aria-labelledby": "new" },
    h("h2", { id: "new" }, "New ads"),
    zone,
    field("Title", title, "What the product is, as its shop says it."),
    field("Category (optional)", category),
    fields,
    h(
      "details",
      {},
      h("summary", {}, "The photo's ground is not plain"),
      field("Mask", mask, "White on the product, of the photo's size."),
    ),
    status,
    h("div", { class: "actions" }, button("Make ads", null, { type: "submit", class: "primary" })),
  );
}

/** Disable the form's button while `work` runs; say what went wrong. */
export async function submitting(form, status, work) {
  const send = form.querySelector("[type=submit]");
  send.disabled = true;
  status.replaceChildren();
  try {
    await work();
  } catch (error) {
    status.replaceChildren(notice(error.message, "bad"));
  }
  send.disabled = false;
}

async function upload({ title, category, photo, mask }) {
  const form = new FormData();
  form.set("title", title);
  if (category.trim()) form.set("category", category);
  form.set("photo", photo);
  if (mask) form.set("mask", mask);
  return call("POST", "/v1/products", form);
}

/** (() => the chosen file, the zone): a file input that also takes a dropped or pasted picture. */
function dropZone() {
  const input = h("input", {
    type: "file",
    required: true,
    accept: "image/png,image/jpeg,image/webp",
    class: "unseen",
    id: "photo",
  });
  const words = h(
    "span",
    {},
    h("strong", {}, "Drop a product photo"),
    h("small", {}, "or choose one: PNG, JPEG or WebP, best on a plain ground"),
  );
  const preview = h("img", { alt: "", hidden: true });
  const zone = h("label", { class: "drop", for: "photo" }, input, preview, icon("upload"), words);
  const take = (file) => {
    if (!file) return;
    if (preview.src) URL.revokeObjectURL(preview.src);
    preview.src = URL.createObjectURL(file);
    preview.hidden = false;
    zone.classList.add("full");
    words.replaceChildren(h("strong", {}, file.name), h("small", {}, "Choose another to replace it"));
  };
  const dropped = (files) => {
    if (!files.length) return;
    input.files = files;
    take(files[0]);
  };
  input.addEventListener("change", () => take(input.files[0]));
  for (const kind of ["dragenter", "dragover"]) zone.addEventListener(kind, (event) => over(event, zone, true));
  zone.addEventListener("dragleave", (event) => over(event, zone, false));
  zone.addEventListener("drop", (event) => (over(event, zone, false), dropped(event.dataTransfer.files)));
  return [() => input.files[0], zone];
}

function over(event, zone, on) {
  event.preventDefault();
  zone.classList.toggle("over", on);
}

function shelf(products) {
  const list = h("ul", { class: "products" });
  const more = button("Show more", () => grow(), { class: "quiet" });
  let shown = 0;
  const grow = () => {
    list.append(...products.slice(shown, shown + AT_ONCE).map(tile));
    shown += AT_ONCE;
    more.hidden = shown >= products.length;
  };
  grow();
  const empty = products.length
    ? null
    : h("p", { class: "empty" }, "Nothing here yet. Your first product appears in a moment.");
  return h(
    "section",
    { "aria-labelledby": "shelf" },
    h("h2", { id: "shelf" }, products.length ? count(products.length, "product") : "Products"),
    empty,
    list,
    more,
  );
}

function tile({ id, title, category }) {
  const photo = lazy(() => picture(`/v1/products/${id}/photo`), "");
  return h(
    "li",
    {},
    h(
      "a",
      { class: "tile", href: `#/products/${id}` },
      photo,
      h("span", {}, h("strong", {}, title), category ? h("small", {}, category) : null),
    ),
  );
}
