// What else the head computed on the image. Bars are drawn by the server, and made large by a click. A map is drawn over
// the image while it is pointed at; that of a region shows who takes from it.

import * as api from "./api.js";
import { heat } from "./colour.js";
import { find, make, telling } from "./dom.js";
import { state } from "./state.js";

export class Inside {
  // `light` is given the map that is pointed at, with `words`, and null when it is left.
  constructor(model, light) {
    Object.assign(this, { model, light });
    this.pictures = make("div", { className: "inside" });
    this.error = make("p", { className: "error", hidden: true, data: { role: "alert" } });
    this.element = make("details", {}, make("summary", {}, "Inside the head"), this.error, this.pictures);
    this.element.ontoggle = () => (this.element.open ? this.fill() : this.light(null));
  }

  clear() {
    this.element.open = false;
    this.pictures.replaceChildren();
  }

  async fill() {
    const { key } = state.image;
    const parts = await telling(this.error, () => this.load(key));
    if (!parts || key !== state.image.key) return;
    const shown = parts.map((part) => (part.maps ? this.maps(part, parts) : this.bars(part, key)));
    this.pictures.replaceChildren(...(shown.length ? shown : ["This head has nothing else to show."]));
  }

  async load(key) {
    const parts = await api.inside(this.model, key);
    for (const part of parts) if (part.drawn === "maps") part.maps = await api.partMaps(this.model, key, part.name);
    return parts;
  }

  bars({ name }, key) {
    const picture = make("img", { src: api.part(this.model, key, name), alt: `${name} of the head` });
    const settings = { className: "tile", data: { "aria-label": `enlarge ${name}` } };
    const button = make("button", settings, picture, make("span", {}, name));
    button.onclick = () => {
      const large = find("large"), image = large.querySelector("img");
      Object.assign(image, { src: picture.src, alt: picture.alt });
      large.showModal();
    };
    return button;
  }

  maps({ name, maps, white, takers }, parts) {
    const regions = parts.find((part) => part.name === takers), top = Math.max(...maps.map((map) => map.high));
    const tiles = maps.map((map) => {
      const taken = regions?.maps.find((other) => other.name === map.name);
      const words = taken ? `who takes from ${map.name} (${name})` : `${name} ${map.name}`;
      const small = heat(map, white === "each" ? map.high : top);
      const button = make("button", { className: "tile", data: { "aria-label": words } }, small, make("span", {}, map.name));
      const show = () => this.light({ ...(taken ?? map), words }), leave = () => this.light(null);
      return Object.assign(button,
        { onpointerenter: show, onpointerleave: leave, onfocus: show, onblur: leave, onclick: show });  // a tap ends as a click
    });
    const title = `${name}, ${white === "each" ? "each to its own maximum" : "one scale"}`;
    return make("div", {}, make("h4", {}, title), make("div", { className: "tiles" }, ...tiles));
  }
}
