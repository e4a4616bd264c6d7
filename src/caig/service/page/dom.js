/** What every view builds with: elements, numbers, announcements. Texts are set as text, never parsed as markup. */

const SVG = "http://www.w3.org/2000/svg";
const PATHS = {
  open: "M7 11V8a5 5 0 0 1 9.6-2M6 11h12v9H6z",
  closed: "M7 11V8a5 5 0 0 1 10 0v3M6 11h12v9H6z",
  upload: "M12 16V5m-4.5 4.5L12 5l4.5 4.5M5 16v3h14v-3",
  back: "M15 5l-7 7 7 7",
};

/** An element with properties (`class`, attributes, `on…` listeners, `style` values) and children. */
export function h(tag, props = {}, ...children) {
  return build(document.createElement(tag), props, children);
}

/** The same for SVG. */
export function svg(tag, props = {}, ...children) {
  return build(document.createElementNS(SVG, tag), props, children);
}

function build(node, props, children) {
  for (const [name, value] of Object.entries(props)) {
    if (value === undefined || value === null || value === false) continue;
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else if (name === "style") for (const [key, part] of Object.entries(value)) node.style.setProperty(key, part);
    else node.setAttribute(name, value === true ? "" : value);
  }
  node.append(...children.flat().filter((child) => child !== null && child !== undefined && child !== false));
  return node;
}

export function icon(name) {
  return svg("svg", { viewBox: "0 0 24 24", class: "icon", "aria-hidden": "true" }, svg("path", { d: PATHS[name] }));
}

/** A button; `label` is its name. */
export function button(label, onclick, props = {}) {
  return h("button", { type: "button", onclick, ...props }, label);
}

/** A labelled field: `control` gets the id. */
export function field(label, control, hint = "") {
  control.id ||= `f${crypto.getRandomValues(new Uint32Array(1))[0]}`;
  const note = hint && h("small", { id: `${control.id}-hint` }, hint);
  if (note) control.setAttribute("aria-describedby", note.id);
  return h("div", { class: "field" }, h("label", { for: control.id }, label), control, note || null);
}

export function select(options, chosen) {
  return h(
    "select",
    {},
    options.map(([value, text]) => h("option", { value, selected: value === chosen }, text)),
  );
}

/** Say something to screen readers. */
export function announce(text) {
  document.getElementById("live").textContent = text;
}

/** Run `render` and give the focus back to the element with the same data-focus. */
export function keepingFocus(render) {
  const focus = document.activeElement?.dataset?.focus;
  render();
  if (focus) document.querySelector(`[data-focus="${CSS.escape(focus)}"]`)?.focus();
}

/** "31 %", "4.0 %" or "0.42 %". */
export function percent(rate) {
  const value = 100 * rate;
  return value >= 9.95 ? `${value.toFixed(0)} %` : value > 0 ? `${short(value)} %` : "0 %";
}

function short(value) {
  return value < 0.01 ? "<0.01" : Number(value.toPrecision(2)).toFixed(value >= 1 ? 1 : 2);
}

export function interval(low, high) {
  return `${percent(low).replace(" %", "")} to ${percent(high)}`;
}

export function count(number, noun) {
  return `${number.toLocaleString("en")} ${noun}${number === 1 ? "" : "s"}`;
}

/** A message that stays until the next one; `alert` interrupts a screen reader. */
export function notice(text, kind = "note") {
  return h("p", { class: `notice ${kind}`, role: kind === "bad" ? "alert" : "note" }, text);
}

/** A modal dialog with a title; closes by Escape, by its button, and when `close` is called. Resolves when closed. */
export function dialog(title, content, { wide = false } = {}) {
  const heading = h("h2", { id: "dialog-title", tabindex: "-1" }, title);
  const box = h("dialog", { class: wide ? "wide" : "", "aria-labelledby": "dialog-title" });
  const close = () => box.close();
  const from = document.activeElement;
  box.append(h("header", {}, heading, button("Close", close, { class: "quiet" })), content(close));
  document.body.append(box);
  box.showModal();
  (box.querySelector("[autofocus]") ?? heading).focus();
  return new Promise((done) => {
    box.addEventListener("close", () => {
      box.remove();
      if (from?.isConnected) from.focus();
      done();
    });
  });
}
