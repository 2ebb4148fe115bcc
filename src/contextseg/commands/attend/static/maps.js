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

export function rangeOf({ low, high }) {
  const even = low > high / 2 ? ": nearly uniform, however bright" : "";
  return `This map goes from ${number(low)} to ${number(high)}${even}.`;
}
