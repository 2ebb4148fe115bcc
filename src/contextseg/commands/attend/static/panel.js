// One model: its large picture, what it predicts at the pixel, and what lies beside.

import * as api from "./api.js";
import { coloured, difference, drawScale, number, percent, surface } from "./colour.js";
import { make, sentence, tell } from "./dom.js";
import { draw, markOf } from "./drawing.js";
import { Inside } from "./inside.js";
import { latest } from "./latest.js";
import { commonTop, gradientOf, rangeOf, sharesOf } from "./maps.js";
import { handled } from "./pointer.js";
import { Reach } from "./reach.js";
import { Readout } from "./readout.js";
import { emit, state } from "./state.js";
import { waiting } from "./waiting.js";

const GRADIENT = "gradient";
const TILES = ["image", "prediction", "truth", "difference"];

export class Panel {
  constructor(index, model) {
    Object.assign(this, { index, model, ready: false, answer: null, lit: null, unders: {} });
    this.canvas = make("canvas", { className: "large", tabIndex: 0, data: { role: "application" } });
    this.choice = make("select", { data: { "aria-label": `map of ${model.name}` } });
    this.choice.onchange = () => { state.shown[index] = this.choice.value; emit("view"); };
    this.error = make("p", { className: "error", hidden: true, data: { role: "alert" } });
    this.progress = make("div", { className: "progress", hidden: true });
    this.legend = make("canvas", { className: "legend", width: 256, height: 10, data: { "aria-hidden": "true" } });
    this.high = make("span");
    this.range = make("p", { className: "range" });
    this.tiles = make("div", { className: "tiles" });
    this.readout = new Readout(model);
    this.inside = new Inside(index, (map) => { this.lit = map; emit("view"); });
    this.reach = new Reach(index);
    const scale = make("div", { className: "scale" }, make("span", {}, "0"), this.legend, this.high);
    const title = make("h2", {}, model.name);
    const main = make("div", { className: "picture" }, this.canvas, this.progress, this.error, scale, this.range);
    const side = make("div", { className: "side" }, this.readout.element, this.tiles, this.inside.element,
      this.reach.element);
    this.element = make("article", { className: "panel" }, make("header", {}, title, this.choice), main, side);
    drawScale(this.legend.getContext("2d"), 0, 0, 256, 10);
    handled(this.canvas);
    this.ask = latest(
      ({ key, point, way }) => api.context(index, key, point, way), (answer, { key }) => this.take(answer, key),
      (error, { key }) => key === state.image?.key && tell(this.error, sentence(error)),
    );
  }

  // Let the model see the image, once; until then the picture stays without a map.
  async open() {
    this.opening?.abort();  // a browser has few connections, and nobody waits for the image before
    const opening = this.opening = new AbortController();
    Object.assign(this, { ready: false, answer: null, lit: null, labels: null, unders: { image: state.image.bitmap } });
    tell(this.error, "");
    this.readout.clear();
    this.inside.clear();
    this.reach.clear();
    this.offer([]);
    this.arrange();
    const done = waiting(this.progress, "The model looks at the image, once");
    try {
      const labels = await api.labels(this.index, state.image.key, opening.signal);
      if (opening.signal.aborted) return;
      this.see(labels);
      this.follow();
    } catch (error) {
      if (!opening.signal.aborted) tell(this.error, sentence(error));
    } finally {
      if (!opening.signal.aborted) done();
    }
  }

  see(labels) {
    const { image } = state;
    Object.assign(this, { labels, ready: true });
    this.unders.prediction = coloured(labels, image, this.model.palette);
    if (image.truthLabels && this.model.truth) {
      this.unders.truth = coloured(image.truthLabels, image, this.model.palette);
      this.unders.difference = difference(labels, image.truthLabels, image);
    }
    this.arrange();
    emit("view");
  }

  // Ask for the pixel under the cursor.
  follow() {
    this.lit = null;
    if (this.ready && state.point) this.ask({ key: state.image.key, point: state.point, way: state.way });
  }

  take(answer, key) {
    if (key !== state.image.key) return;
    this.answer = answer;
    tell(this.error, "");
    this.offer(answer.maps.map((map) => map.name));
    this.readout.show(answer, this.model.truth ? state.image.truthLabels : null);
    emit("answer");
  }

  offer(names) {
    const all = [...names, GRADIENT];
    if (String(all) !== String(this.offered)) {
      this.offered = all;
      const label = (name) => (name === GRADIENT ? "gradient of the last pin" : name);
      this.choice.replaceChildren(...all.map((name) => make("option", { value: name }, label(name))));
    }
    this.choice.hidden = this.model.attends && !names.length;  // nothing to choose from yet
    this.choice.value = this.kind;
  }

  get kind() {
    const wanted = state.shown[this.index];
    return this.offered.includes(wanted) ? wanted : this.offered[0];
  }

  // The map that is drawn, or null.
  get map() {
    if (this.kind === GRADIENT) return gradientOf(this.index, state.pins.at(-1));
    return this.answer?.maps.find((map) => map.name === this.kind) ?? null;
  }

  get under() { return this.unders[state.base] ?? this.unders.image; }

  get top() { return state.scale === "common" ? commonTop(this.kind === GRADIENT) : (this.map?.high ?? 1); }

  get marks() {
    const pins = state.pins.map(markOf);
    return state.point ? [...pins, state.point] : pins;
  }

  // What lies over the image: a map of the head's inside that is pointed at, else that of the pixel.
  get over() {
    const { lit, map, top, marks } = this;
    return lit ? { map: lit, top: lit.high, words: lit.words } : { map, top, marks };
  }

  // Small pictures beside the large one; one that is chosen goes below the map.
  arrange() {
    const { width, height } = state.image;
    this.tiles.replaceChildren(...TILES.filter((name) => this.unders[name]).map((name) => {
      const small = surface(width, height);
      small.getContext("2d").drawImage(this.unders[name], 0, 0);
      const button = make("button", { className: "tile", data: { "aria-label": `${name}, put below the map` } },
        small, make("span", {}, name));
      button.dataset.base = name;
      button.onclick = () => { state.base = name; emit("view"); };
      return button;
    }));
  }

  draw() {
    if (!state.image || !this.canvas.clientWidth) return;
    const width = Math.round(this.canvas.clientWidth * Math.min(devicePixelRatio, 2));
    const height = Math.round((width * state.image.height) / state.image.width);
    if (this.canvas.width !== width || this.canvas.height !== height) Object.assign(this.canvas, { width, height });
    const { under, over } = this, { map, top } = over;
    draw(this.canvas.getContext("2d"), { width, height, under, ...over, view: state.view });
    this.choice.value = this.kind;
    this.high.textContent = map ? number(top) : "";
    this.range.textContent = map ? `${this.classes(map)}${rangeOf(map)}` : this.absent();
    for (const tile of this.tiles.children) tile.setAttribute("aria-pressed", tile.dataset.base === state.base);
    const at = state.point ? `pixel ${state.point.x}, ${state.point.y}` : "no pixel yet";
    const what = over.words ?? at;
    this.canvas.setAttribute("aria-label", `${this.model.name}: image with map, ${what}. Arrow keys move the pixel.`);
  }

  // On which classes the map of the pixel lies: "Takes from car 83 %, road 6 %, bicyclist 6 %."
  classes(map) {
    if (this.lit || !this.labels) return "";
    const known = sharesOf(map, this.labels).filter(([id, share]) => share >= 0.005).slice(0, 3);
    const verb = this.kind === GRADIENT ? "Lies on" : state.way === "to" ? "Given to" : "Takes from";
    return `${verb} ${known.map(([id, share]) => `${this.model.classes[id] ?? "void"} ${percent(share)}`).join(", ")}. `;
  }

  // Why there is no map.
  absent() {
    if (!this.ready || (this.model.attends && !this.answer)) return "";
    if (this.kind === GRADIENT && state.pins.length) return "The gradient of the last pin is not there yet: see below.";
    if (this.model.attends) return "Pin a pixel to see its gradient.";
    return "This head has no attention of its own. Pin a pixel: the gradient shows where it looked.";
  }
}
