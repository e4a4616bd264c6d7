/** The service's API. The key lies in sessionStorage: it goes when the tab is closed. */

import { button, dialog, field, h, notice } from "./dom.js";

const STORED = "caig-key";
const pictures = new Map();
let asking = null;

export const hasKey = () => sessionStorage.getItem(STORED) !== null;

export function forgetKey() {
  sessionStorage.removeItem(STORED);
  for (const url of pictures.values()) url.then(URL.revokeObjectURL, () => {});
  pictures.clear();
}

/** The answer's JSON; `body` is sent as JSON, FormData as a form. Throws an Error that says what the service said. */
export async function call(method, path, body) {
  const answer = await send(method, path, body);
  return answer.status === 204 ? null : answer.json();
}

export const get = (path) => call("GET", path);

/** Every item of a list that comes in pages. */
export async function all(path) {
  const items = [];
  let cursor = "";
  do {
    const page = await get(`${path}${path.includes("?") ? "&" : "?"}limit=200${cursor}`);
    items.push(...page.items);
    cursor = page.next && `&cursor=${encodeURIComponent(page.next)}`;
  } while (cursor);
  return items;
}

/** A blob URL of a picture: an <img> can't send a key. */
export function picture(path) {
  if (!pictures.has(path)) pictures.set(path, send("GET", path).then(blobUrl));
  pictures.get(path).catch(() => pictures.delete(path));
  return pictures.get(path);
}

/** Save what `path` answers as a file called `name`. */
export async function download(path, name) {
  const url = await send("GET", path).then(blobUrl);
  h("a", { href: url, download: name }).click();
  setTimeout(() => URL.revokeObjectURL(url), 60_000);
}

const blobUrl = async (answer) => URL.createObjectURL(await answer.blob());

async function send(method, path, body) {
  for (;;) {
    const answer = await fetch(path, { method, headers: headers(body), body: encoded(body) });
    if (answer.ok) return answer;
    const told = await answer.json().catch(() => ({}));
    const detail = told.detail ?? `${path}: ${answer.status}`;
    const wrongRole = answer.status === 403 && detail.startsWith("key:");
    if (answer.status !== 401 && !wrongRole) throw new Error(detail);
    await askKey(wrongRole ? "This key reports events only. The page needs an admin's." : "");
  }
}

function headers(body) {
  const key = sessionStorage.getItem(STORED);
  const json = body && !(body instanceof FormData);
  return { ...(key && { Authorization: `Bearer ${key}` }), ...(json && { "Content-Type": "application/json" }) };
}

const encoded = (body) => (body && !(body instanceof FormData) ? JSON.stringify(body) : body);

/** One question at a time, however many requests were refused. */
function askKey(why) {
  const refused = hasKey();
  asking ??= ask(why || (refused ? "The service refused this key." : "")).finally(() => (asking = null));
  return asking;
}

async function ask(why) {
  const key = h("input", {
    type: "password",
    required: true,
    autocomplete: "off",
    spellcheck: "false",
    autofocus: true,
  });
  const keep = (close) => (event) => {
    event.preventDefault();
    sessionStorage.setItem(STORED, key.value.trim());
    close();
  };
  const form = (close) =>
    h(
      "form",
      { class: "stack", onsubmit: keep(close) },
      why ? notice(why, "bad") : null,
      field("Admin key", key, "Printed by: caig keys NAME --role admin. Kept until this tab is closed."),
      h("div", { class: "actions" }, button("Continue", null, { type: "submit", class: "primary" })),
    );
  const before = sessionStorage.getItem(STORED);
  await dialog("This service asks for a key", form);
  if (sessionStorage.getItem(STORED) === before) throw new Error("No key was given. Reload the page to try again.");
  document.getElementById("forget").hidden = false;
}
