// One picture: an image, a map over it, marks on it.

import { heat, PINS } from "./colour.js";
import { state } from "./state.js";

const ALL = { zoom: 1, x: 0.5, y: 0.5 };

// The part of the image that is seen, in its pixels.
export function seen(view = state.view) {
  const width = state.image.width / view.zoom, height = state.image.height / view.zoom;
  const begin = (centre, size, part) => Math.min(size - part, Math.max(0, centre * size - part / 2));
  return {
    left: begin(view.x, state.image.width, width), top: begin(view.y, state.image.height, height), width, height,
  };
}

// Draw into a rectangle of a canvas. `map` may be null; `words`: in its corner; `marks`: [{x, y, text, colour}].
export function draw(context, { x = 0, y = 0, width, height, under, map, top, words, marks = [], view = ALL }) {
  const part = seen(view), times = width / part.width;
  const place = (column, row) => [x + (column - part.left) * times, y + (row - part.top) * times];
  context.save();
  context.beginPath();
  context.rect(x, y, width, height);
  context.clip();
  context.imageSmoothingEnabled = times < 4;
  const whole = [part.left, part.top, part.width, part.height, x, y, width, height];
  context.drawImage(under, ...whole);
  if (map) {
    context.globalAlpha = state.opacity;
    if (under === state.image.bitmap) context.drawImage(state.image.dimmed, ...whole);
    context.imageSmoothingEnabled = true;
    const [left, upper, wide, high] = map.area;
    context.drawImage(heat(map, top), ...place(left, upper), wide * times, high * times);
    context.globalAlpha = 1;
  }
  for (const mark of marks) drawMark(context, ...place(mark.x + 0.5, mark.y + 0.5), mark);
  if (words) write(context, words, x + 10, y + 22);
  context.restore();
}

function drawMark(context, x, y, { text = "", colour = "#fff" }) {
  for (const [radius, ink, line] of [[7, "#000", 4], [7, colour, 2]]) {
    context.beginPath();
    context.arc(x, y, radius, 0, 2 * Math.PI);
    context.lineWidth = line;
    context.strokeStyle = ink;
    context.stroke();
  }
  write(context, text, x + 10, y - 6, colour);
}

function write(context, text, x, y, colour = "#fff") {
  context.font = "bold 14px system-ui, sans-serif";
  context.lineWidth = 3;
  context.strokeStyle = "#000";
  context.strokeText(text, x, y);
  context.fillStyle = colour;
  context.fillText(text, x, y);
}

export const colourOf = (pin) => PINS[(pin.number - 1) % PINS.length];
export const markOf = (pin) => ({ ...pin, text: String(pin.number), colour: colourOf(pin) });
