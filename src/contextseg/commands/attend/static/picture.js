// The view as a picture: every model with its map, scale and classes, then the pins.

import { drawScale, number, percent, surface } from "./colour.js";
import { colourOf, draw, markOf } from "./drawing.js";
import { commonTop, contextOf, gradientOf, panels } from "./maps.js";
import { state } from "./state.js";

const WIDE = 640, GAP = 16, LINE = 20, SCALE = 12;

export async function save() {
  const blob = await new Promise((done) => picture().toBlob(done, "image/png"));
  const anchor = document.createElement("a"), url = URL.createObjectURL(blob);
  const at = state.point ? `_${state.point.x}_${state.point.y}` : "";
  Object.assign(anchor, { href: url, download: `${state.image.name.replace(/\W+/g, "_")}${at}.png` });
  anchor.click();
  setTimeout(() => URL.revokeObjectURL(url), 1000);
}

function picture() {
  const high = Math.round((WIDE * state.image.height) / state.image.width);
  const panel = high + 9 * LINE + SCALE, pin = Math.round(high / 2) + 2 * LINE;
  const width = panels.length * (WIDE + GAP) + GAP;
  const canvas = surface(width, GAP + panel + state.pins.length * (pin + GAP)), context = canvas.getContext("2d");
  context.fillStyle = "#fff";
  context.fillRect(0, 0, canvas.width, canvas.height);
  context.textBaseline = "top";
  panels.forEach((one, i) => {
    const x = GAP + i * (WIDE + GAP);
    drawPanel(context, one, x, GAP, high);
    state.pins.forEach((fresh, j) => drawPin(context, one, fresh, x, GAP + panel + j * (pin + GAP), high / 2));
  });
  return canvas;
}

function write(context, words, x, y, { bold = "", align = "left", wide = WIDE } = {}) {
  context.font = `${bold} 14px system-ui, sans-serif`;
  context.fillStyle = "#222";
  context.textAlign = align;
  context.fillText(words, x, y, wide);
  context.textAlign = "left";
}

function drawPanel(context, panel, x, y, high) {
  const { map, top, marks, under, readout, model } = panel;
  write(context, map ? `${model.name}: ${map.name}` : model.name, x, y, { bold: "bold" });
  draw(context, { x, y: y + LINE, width: WIDE, height: high, under, map, top, marks, view: state.view });
  let line = y + LINE + high + 4;
  if (map) {
    drawScale(context, x, line, WIDE, SCALE);
    write(context, "0", x, line + SCALE + 2);
    write(context, number(top), x + WIDE, line + SCALE + 2, { align: "right" });
  }
  line += SCALE + LINE + 4;
  write(context, readout.where.textContent, x, line);
  for (const [id, share] of readout.best ?? []) {
    line += LINE;
    context.fillStyle = `rgb(${model.palette[id]})`;
    context.fillRect(x, line + 2, 12, 12);
    write(context, `${model.classes[id]} ${percent(share)}`, x + 20, line);
  }
}

function drawPin(context, panel, fresh, x, y, height) {
  context.fillStyle = colourOf(fresh);
  context.fillRect(x, y, 4, LINE - 4);
  const half = (WIDE - GAP) / 2;
  [contextOf(panel, fresh), gradientOf(panel.index, fresh)].forEach((map, i) => {
    if (!map) return;
    const left = x + i * (half + GAP), tall = (half * state.image.height) / state.image.width;
    const top = state.scale === "common" ? commonTop(i === 1) : map.high;
    write(context, `pin ${fresh.number}: ${map.name}, 0 to ${number(top)}`, left + 8, y, { wide: half });
    draw(context, { x: left, y: y + LINE, width: half, height: Math.min(tall, height + LINE), under: state.image.bitmap,
      map, top, marks: [markOf(fresh)] });
  });
}
