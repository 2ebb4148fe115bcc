// The view as a picture: every model with its map, scale and classes, then the pins, then the names of the classes.

import { number, percent, surface } from "./colour.js";
import { colourOf, draw, markOf } from "./drawing.js";
import { commonTop, contextOf, gradientOf, panels, titleOf } from "./maps.js";
import { OnCanvas, OnSvg } from "./sheet.js";
import { state } from "./state.js";

const WIDE = 640, GAP = 16, LINE = 20, SCALE = 12, NAME = 160;

export async function save() {
  const sheet = new OnCanvas(...size());
  compose(sheet);
  keep(await sheet.file(), "png");
}

export async function saveSvg() {
  const sheet = new OnSvg(...size());
  compose(sheet);
  keep(await sheet.file(), "svg");
}

function keep(blob, ending) {
  const anchor = document.createElement("a"), url = URL.createObjectURL(blob);
  const at = state.point ? `_${state.point.x}_${state.point.y}` : "";
  Object.assign(anchor, { href: url, download: `${state.image.name.replace(/\W+/g, "_")}${at}.${ending}` });
  anchor.click();
  setTimeout(() => URL.revokeObjectURL(url), 1000);
}

const high = () => Math.round((WIDE * state.image.height) / state.image.width);
const panelHigh = () => high() + 9 * LINE + SCALE;
const pinHigh = () => Math.round(high() / 2) + 2 * LINE + GAP;
const width = () => panels.length * (WIDE + GAP) + GAP;
const columns = () => Math.floor((width() - 2 * GAP) / NAME);
const names = () => panels[0].model.classes;
const size = () =>
  [width(), 2 * GAP + panelHigh() + state.pins.length * pinHigh() + LINE * Math.ceil(names().length / columns())];

function compose(sheet) {
  panels.forEach((one, i) => {
    const x = GAP + i * (WIDE + GAP);
    addPanel(sheet, one, x, GAP);
    state.pins.forEach((fresh, j) => addPin(sheet, one, fresh, x, GAP + panelHigh() + j * pinHigh()));
  });
  const below = GAP + panelHigh() + state.pins.length * pinHigh();
  names().forEach((name, i) => {
    const x = GAP + (i % columns()) * NAME, y = below + LINE * Math.floor(i / columns());
    sheet.box(`rgb(${panels[0].model.palette[i]})`, x, y + 2, 12, 12);
    sheet.words(name, x + 18, y, { wide: NAME - 24 });
  });
}

// Image, map and marks as pixels, twice as many as the sheet has.
function pixels(wide, tall, settings) {
  const canvas = surface(2 * wide, Math.round(2 * tall));
  draw(canvas.getContext("2d"), { width: canvas.width, height: canvas.height, ...settings });
  return canvas;
}

function addPanel(sheet, panel, x, y) {
  const { map, top, marks, under, readout, model } = panel;
  sheet.words(map ? `${model.name}: ${titleOf(map)}` : model.name, x, y, { bold: true, wide: WIDE });
  sheet.picture(pixels(WIDE, high(), { under, map, top, marks, view: state.view }), x, y + LINE, WIDE, high());
  let line = y + LINE + high() + 4;
  if (map) {
    sheet.scale(x, line, WIDE, SCALE);
    sheet.words("0", x, line + SCALE + 2);
    sheet.words(number(top), x + WIDE, line + SCALE + 2, { right: true });
  }
  line += SCALE + LINE + 4;
  sheet.words(readout.where.textContent, x, line, { wide: WIDE });
  for (const [id, share] of readout.best ?? []) {
    line += LINE;
    sheet.box(`rgb(${model.palette[id]})`, x, line + 2, 12, 12);
    sheet.words(`${model.classes[id]} ${percent(share)}`, x + 20, line);
  }
}

function addPin(sheet, panel, fresh, x, y) {
  sheet.box(colourOf(fresh), x, y, 4, LINE - 4);
  const half = (WIDE - GAP) / 2, tall = (half * state.image.height) / state.image.width;
  [contextOf(panel, fresh), gradientOf(panel.index, fresh)].forEach((map, i) => {
    if (!map) return;
    const left = x + i * (half + GAP), top = state.scale === "common" ? commonTop(i === 1) : map.high;
    sheet.words(`pin ${fresh.number}: ${titleOf(map)}, 0 to ${number(top)}`, left + 8, y, { wide: half - 8 });
    const settings = { under: state.image.bitmap, map, top, marks: [markOf(fresh)] };
    sheet.picture(pixels(half, tall, settings), left, y + LINE, half, tall);
  });
}
