// Class names and probabilities at a pixel.

import { percent } from "./colour.js";
import { make } from "./dom.js";
import { state } from "./state.js";

const ROWS = 5;

export class Readout {
  constructor(model) {
    this.model = model;
    this.where = make("p", { className: "where" });
    this.rows = Array.from({ length: Math.min(ROWS, model.classes.length) }, () => {
      const row = { colour: make("i"), name: make("span"), bar: make("b"), share: make("span") };
      row.element = make("li", {}, row.colour, row.name, make("span", { className: "bar" }, row.bar), row.share);
      return row;
    });
    this.title = make("h4", {}, "What is predicted there");
    this.list = make("ol", { className: "best", data: { "aria-label": "most probable classes" } });
    this.list.append(...this.rows.map((row) => row.element));
    this.element = make("div", { className: "readout" }, this.where, this.title, this.list);
    this.clear();
  }

  clear() {
    this.best = null;
    this.list.hidden = this.title.hidden = true;
    this.where.textContent = "Move over the image.";
  }

  show({ point: [x, y], best }, truth) {
    const { classes, palette } = this.model;
    this.best = best;
    this.list.hidden = this.title.hidden = false;
    const label = truth?.[y * state.image.width + x];
    const mark = label === 255 ? "" : label === best[0][0] ? " ✓" : " ✗";
    const known = truth ? `; truth: ${classes[label] ?? "void"}${mark}` : "";
    this.where.textContent = `Pixel ${x}, ${y}${known}`;
    best.forEach(([id, share], i) => {
      const row = this.rows[i];
      row.colour.style.background = `rgb(${palette[id]})`;
      row.name.textContent = classes[id];
      row.bar.style.width = `${100 * share}%`;
      row.share.textContent = percent(share);
    });
  }

  // "predicted: road 83 %", for the screen reader and for pins.
  static words(model, best) { return best ? `predicted: ${model.classes[best[0][0]]} ${percent(best[0][1])}` : ""; }
}
