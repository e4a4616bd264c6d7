/** The fields of a job: theme, format, how many. */

import { get } from "./api.js";
import { field, h, select } from "./dom.js";

const NAMES = { "1:1": "Square", "4:5": "Portrait", "9:16": "Story", "16:9": "Landscape", "1.91:1": "Link" };
const SHAPE = 34; // pixels, the longer side of a format's picture
let known = null;

const choices = () =>
  (known ??= get("/v1/choices").catch((error) => {
    known = null;
    throw error;
  }));

/** A format's name for people, its size where it has none. */
export async function formatName(width, height) {
  const { formats } = await choices();
  const found = formats.find((one) => one.width === width && one.height === height);
  return found ? friendly(found.name) : "Own size";
}

const friendly = (name) => (NAMES[name] ? `${NAMES[name]} ${name}` : capital(name.replaceAll("-", " ")));
const capital = (text) => text[0].toUpperCase() + text.slice(1);

/** (elements, () => the job's body) */
export async function jobFields() {
  const { themes, formats } = await choices();
  const theme = select([["", "As the product asks for"], ...themes.map((name) => [name, capital(name)])], "");
  const many = select(
    ["1", "2", "4", "6", "8", "12"].map((n) => [n, n]),
    "4",
  );
  const shapes = h("fieldset", { class: "formats" }, h("legend", {}, "Size"), formats.map(shape));
  const body = () => {
    const chosen = formats[Number(shapes.querySelector(":checked").value)];
    const seed = crypto.getRandomValues(new Uint32Array(1))[0];
    const size = { width: chosen.width, height: chosen.height };
    return { n: Number(many.value), ...size, seed, ...(theme.value && { theme: theme.value }) };
  };
  const row = h("div", { class: "pair" }, field("Theme", theme), field("How many", many));
  return [[row, shapes], body];
}

function shape({ name, width, height }, index) {
  const scale = SHAPE / Math.max(width, height);
  const style = { width: `${Math.max(5, width * scale)}px`, height: `${Math.max(5, height * scale)}px` };
  return h(
    "label",
    { class: "format" },
    h("input", { type: "radio", name: "format", value: index, checked: index === 0, class: "unseen" }),
    h("span", { class: "shape", "aria-hidden": "true" }, h("i", { style })),
    h("span", {}, friendly(name), h("small", {}, ` ${width} × ${height}`)),
  );
}
