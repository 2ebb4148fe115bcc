// How far each kind of attention looks on the image, and which class takes from which: numbers and a matrix.

import * as api from "./api.js";
import { find, make, telling } from "./dom.js";
import { state } from "./state.js";

export class Reach {
  constructor(model) {
    this.model = model;
    this.found = make("div", { className: "inside" });
    this.error = make("p", { className: "error", hidden: true, data: { role: "alert" } });
    this.element = make("details", {}, make("summary", {}, "How far it looks, and at which classes"), this.error, this.found);
    this.element.ontoggle = () => this.element.open && this.fill();
  }

  clear() {
    this.element.open = false;
    this.found.replaceChildren();
  }

  async fill() {
    const { key } = state.image;
    this.found.replaceChildren("It is measured, over all places.");
    const kinds = await telling(this.error, () => api.reach(this.model, key));
    if (key !== state.image.key) return;
    const none = "This head has no attention between the places of the whole image.";
    this.found.replaceChildren(...(kinds?.length ? kinds.flatMap((kind) => this.shown(key, kind)) : kinds ? [none] : []));
  }

  shown(key, { name, distance, uniform, entropy }) {
    const far = `${name}: a place takes from ${Math.round(distance)} pixels away in the mean`;
    const words = `${far} (equal weights: ${Math.round(uniform)}); entropy ${entropy.toFixed(0)} % of theirs: 100 is all places alike, 0 one place.`;
    const picture = make("img", { src: api.exchange(this.model, key, name), alt: `matrix: which class takes from which` });
    const button = make("button", { className: "tile", data: { "aria-label": `enlarge the matrix of ${name}` } }, picture);
    button.onclick = () => {
      const large = find("large");
      Object.assign(large.querySelector("img"), { src: picture.src, alt: picture.alt });
      large.showModal();
    };
    const title = "From which class each class takes, in percent; classes as predicted. Below 0.5 a cell is empty.";
    return [make("p", {}, words), make("p", {}, title), button];
  }
}
