// The maps of pins, by model, and the end of the common scale.

import { number } from "./colour.js";
import { state } from "./state.js";

export const pinned = new Map();  // "model pin" -> {context, best, gradient, error}; filled by pins.js
export const panels = [];

export const nameOf = (model, pin) => `${model} ${pin.number}`;
export const gradientOf = (model, pin) => (pin && pinned.get(nameOf(model, pin))?.gradient) ?? null;

// The map of a pin of the kind that its model's panel shows.
export function contextOf(panel, pin) {
  const maps = pinned.get(nameOf(panel.index, pin))?.context ?? [];
  return maps.find((map) => map.name === panel.kind) ?? maps[0] ?? null;
}

// The highest number of all maps shown: those of gradients, or those of heads.
export function commonTop(gradients) {
  const maps = panels.flatMap((panel) => {
    const pins = state.pins.map((pin) => (gradients ? gradientOf(panel.index, pin) : contextOf(panel, pin)));
    return gradients === (panel.kind === "gradient") ? [panel.map, ...pins] : pins;
  });
  return Math.max(0, ...maps.filter(Boolean).map((map) => map.high)) || 1;
}

// "context", or how it is read.
export const titleOf = ({ name }) =>
  (name !== "gradient" && state.way === "to" ? `${name}, the other way round: who takes from here` : name);

export function rangeOf({ low, high, name }) {
  const even = low > high / 2 ? ": nearly uniform, however bright" : "";
  const way = name === "gradient" && state.way === "to" ? " A gradient has no other way round." : "";
  return `This map goes from ${number(low)} to ${number(high)}${even}.${way}`;
}

// On which classes a map lies, as `labels` of the image name them: [[id, share]], the largest first.
export function sharesOf({ values, width, height, area: [left, upper, wide, high] }, labels) {
  const sums = new Map();
  let total = 0;
  values.forEach((value, i) => {
    const x = left + Math.floor(((i % width + 0.5) * wide) / width);
    const y = upper + Math.floor(((Math.floor(i / width) + 0.5) * high) / height);
    const id = labels[y * state.image.width + x];
    sums.set(id, (sums.get(id) ?? 0) + value);
    total += value;
  });
  return [...sums].map(([id, sum]) => [id, sum / (total || 1)]).sort((one, other) => other[1] - one[1]);
}
