/** Pictures that load when they come near the window. */

import { h } from "./dom.js";

const loaders = new WeakMap();
const near = new IntersectionObserver(
  (entries) => {
    for (const { isIntersecting, target } of entries) {
      if (!isIntersecting) continue;
      near.unobserve(target);
      loaders
        .get(target)()
        .then(
          (url) => (target.src = url),
          () => target.classList.add("missing"),
        );
    }
  },
  { rootMargin: "400px" },
);

/** An <img> of what `load` resolves to; `size` [width, height] keeps its place free. */
export function lazy(load, alt, size = null) {
  const image = h("img", { alt, ...(size && { width: size[0], height: size[1] }) });
  loaders.set(image, load);
  near.observe(image);
  return image;
}
