// What else the head computed on the image: pictures that the server draws, made large by a click.

import * as api from "./api.js";
import { find, make, telling } from "./dom.js";
import { state } from "./state.js";

export class Inside {
  constructor(model) {
    this.model = model;
    this.pictures = make("div", { className: "inside" });
    this.error = make("p", { className: "error", hidden: true, data: { role: "alert" } });
    this.element = make("details", {}, make("summary", {}, "Inside the head"), this.error, this.pictures);
    this.element.ontoggle = () => this.element.open && this.fill();
  }

  clear() {
    this.element.open = false;
    this.pictures.replaceChildren();
  }

  async fill() {
    const { key } = state.image;
    const names = await telling(this.error, () => api.inside(this.model, key));
    if (!names || key !== state.image.key) return;
    const shown = names.map((name) => {
      const picture = make("img", { src: api.part(this.model, key, name), alt: `${name} of the head` });
      const settings = { className: "tile", data: { "aria-label": `enlarge ${name}` } };
      const button = make("button", settings, picture, make("span", {}, name));
      button.onclick = () => {
        const large = find("large"), image = large.querySelector("img");
        Object.assign(image, { src: picture.src, alt: picture.alt });
        large.showModal();
      };
      return button;
    });
    this.pictures.replaceChildren(...(shown.length ? shown : ["This head shows nothing else."]));
  }
}
