// Pins: pixels that stay, each with its maps and gradients in all models, to compare.

import * as api from "./api.js";
import { find, make, sentence, tell } from "./dom.js";
import { colourOf, draw, markOf } from "./drawing.js";
import { inTurn } from "./latest.js";
import { commonTop, contextOf, gradientOf, nameOf, panels, pinned, rangeOf, titleOf } from "./maps.js";
import { Readout } from "./readout.js";
import { emit, state } from "./state.js";
import { waiting } from "./waiting.js";

const MOST = 8;
const cards = new Map();  // by number

export function pin(point = state.point) {
  if (!point || state.pins.some(({ x, y }) => x === point.x && y === point.y)) return;
  const free = Array.from({ length: MOST }, (_, i) => i + 1).filter((n) => state.pins.every((one) => one.number !== n));
  if (!free.length) return tell(find("view-error"), `There is room for ${MOST} pins: remove one first.`);
  const fresh = { ...point, number: free[0] };
  tell(find("view-error"), "");
  state.pins.push(fresh);
  for (const panel of panels) pinned.delete(nameOf(panel.index, fresh));
  addCard(fresh);
  emit("view");
}

export function unpin(old = state.pins.at(-1)) {
  if (!old) return;
  state.pins = state.pins.filter((one) => one !== old);
  cards.get(old.number)?.element.remove();
  cards.delete(old.number);
  tell(find("view-error"), "");
  emit("view");
}

export function clearPins() {
  state.pins = [];
  cards.clear();
  pinned.clear();
  find("pins").replaceChildren();
}

function addCard(fresh) {
  const title = make("h3", {}, `Pin ${fresh.number}: pixel ${fresh.x}, ${fresh.y}`);
  title.style.borderColor = colourOf(fresh);
  const remove = make("button", { data: { "aria-label": `remove pin ${fresh.number}` } }, "Remove");
  remove.onclick = () => unpin(fresh);
  const columns = panels.map((panel) => new Column(panel, fresh));
  const grid = make("div", { className: "columns" }, ...columns.map((column) => column.element));
  const element = make("article", { className: "pin" }, make("header", {}, title, remove), grid);
  cards.set(fresh.number, { element, columns });
  find("pins").append(element);
  columns.forEach((column) => column.fill());
}

export function askPins() {
  for (const { columns } of cards.values()) columns.forEach((column) => column.context());
}

export function drawPins() {
  for (const { columns } of cards.values()) columns.forEach((column) => column.draw());
}

// A model's answer to a pin: the head's map at once, the gradient when it is computed.
class Column {
  constructor(panel, fresh) {
    Object.assign(this, { panel, fresh });
    this.words = make("p");
    this.error = make("p", { className: "error", hidden: true, data: { role: "alert" } });
    this.progress = make("div", { className: "progress", hidden: true });
    this.figures = ["context", "gradient"].map((kind) => {
      const canvas = make("canvas", { data: { role: "img" } }), range = make("figcaption");
      return { kind, canvas, range, element: make("figure", { hidden: true }, canvas, range) };
    });
    const pictures = make("div", { className: "pair" }, ...this.figures.map((figure) => figure.element));
    this.element = make("div", {}, make("h4", {}, panel.model.name), this.words, pictures, this.progress, this.error);
  }

  // Whether an answer for an image comes too late.
  stale(key) { return key !== state.image.key || !state.pins.includes(this.fresh); }

  take(key, more) {
    const name = nameOf(this.panel.index, this.fresh);
    if (this.stale(key)) return;
    pinned.set(name, { ...pinned.get(name), ...more });
    emit("view");
  }

  async context() {
    const { key } = state.image, { way } = state;
    try {
      const { maps, best } = await api.context(this.panel.index, key, this.fresh, way);
      if (way === state.way) this.take(key, { context: maps, best });
    } catch (failure) {
      tell(this.error, sentence(failure));
    }
  }

  async fill() {
    const { key } = state.image, done = waiting(this.progress, "Gradient");
    await this.context();
    try {
      const answer = await inTurn(() => (this.stale(key) ? null : api.gradient(this.panel.index, key, this.fresh)));
      if (answer) this.take(key, { gradient: answer.maps[0] });
    } catch (failure) {
      tell(this.error, sentence(failure));
    }
    done();
  }

  draw() {
    const { panel, fresh } = this, best = pinned.get(nameOf(panel.index, fresh))?.best;
    this.words.textContent = Readout.words(panel.model, best);
    for (const { kind, canvas, range, element } of this.figures) {
      const map = kind === "gradient" ? gradientOf(panel.index, fresh) : contextOf(panel, fresh);
      element.hidden = !map;
      if (!map) continue;
      const top = state.scale === "common" ? commonTop(kind === "gradient") : map.high;
      drawPinned(canvas, fresh, map, top);
      range.textContent = `${titleOf(map)}. ${rangeOf(map)}`;
      canvas.setAttribute("aria-label", `${map.name} of pin ${fresh.number} in ${panel.model.name}`);
    }
  }
}

const WIDE = 400;  // pixels of a small picture
function drawPinned(canvas, fresh, map, top) {
  const height = Math.round((WIDE * state.image.height) / state.image.width);
  Object.assign(canvas, { width: WIDE, height });
  draw(canvas.getContext("2d"), { width: WIDE, height, under: state.image.bitmap, map, top, marks: [markOf(fresh)] });
}
