/** Which view is shown: the part of the address behind #. */

import { forgetKey, hasKey } from "./api.js";
import { campaign, campaigns } from "./campaigns.js";
import { h, notice } from "./dom.js";
import { home } from "./home.js";
import { product } from "./product.js";

const ROUTES = [
  [/^#\/products\/([\w-]+)$/, product],
  [/^#\/campaigns\/([\w-]+)$/, campaign],
  [/^#\/campaigns$/, campaigns],
  [/^/, home],
];
const main = document.getElementById("main");
let leave = new AbortController();

/** Show the view of the address; `leave` tells the last one that it is gone. */
async function show() {
  leave.abort();
  leave = new AbortController();
  const { signal } = leave;
  const [pattern, view] = ROUTES.find(([route]) => route.test(location.hash));
  mark();
  main.replaceChildren(h("p", { class: "loading" }, "Loading …"));
  const content = await view(signal, ...(pattern.exec(location.hash) ?? []).slice(1)).catch(told);
  if (signal.aborted) return;
  main.replaceChildren(...[content].flat());
  const heading = main.querySelector("h1");
  document.title = heading ? `${heading.textContent} · caig` : "caig";
  if (!document.querySelector("dialog[open]")) main.focus({ preventScroll: true });
  scrollTo(0, 0);
}

const told = (error) => [h("h1", {}, "That did not work"), notice(error.message, "bad")];

function mark() {
  const here = location.hash.startsWith("#/campaigns") ? "#/campaigns" : "#/";
  for (const link of document.querySelectorAll(".bar nav a")) {
    if (link.getAttribute("href") === here) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
}

document.getElementById("skip").addEventListener("click", (event) => {
  event.preventDefault();
  main.focus();
});
const forget = document.getElementById("forget");
forget.hidden = !hasKey();
forget.addEventListener("click", () => {
  forgetKey();
  location.reload();
});
addEventListener("hashchange", show);
show();
