// What the page shows, in one object, and the part of it that a link keeps.

export const state = {
  models: [],  // as the server lists them
  image: null,  // facts of the image, with `bitmap`, `dimmed`, `truth`
  point: null,  // {x, y} under the cursor
  pins: [],  // {x, y, number}
  opacity: 0.9,
  scale: "own",
  way: "from",  // or "to": the maps read the other way round
  base: "image",  // what lies under the map: image, prediction, truth or difference
  shown: [],  // the name of the map of each model; undefined: its first
  view: { zoom: 1, x: 0.5, y: 0.5 },  // centre, as parts of the image
};

const listeners = new Map();
export const on = (name, work) => listeners.set(name, [...(listeners.get(name) ?? []), work]);
export const emit = (name) => listeners.get(name)?.forEach((work) => work());

export function inImage({ x, y }) {
  const clamp = (value, size) => Math.min(size - 1, Math.max(0, Math.floor(value)));
  return { x: clamp(x, state.image.width), y: clamp(y, state.image.height) };
}

export function setPoint(point) {
  const next = inImage(point);
  if (state.point && next.x === state.point.x && next.y === state.point.y) return;
  state.point = next;
  emit("point");
}

const pair = ({ x, y }) => `${x},${y}`;
const pixel = (words) => {
  const [x, y] = words.split(",").map(Number);
  return Number.isFinite(x) && Number.isFinite(y) ? { x, y } : null;
};

export function link() {
  const { image, point, pins, opacity, scale, way, base, shown, view } = state;
  const words = new URLSearchParams();
  if (image) words.set("image", image.key);
  if (point) words.set("at", pair(point));
  if (pins.length) words.set("pins", pins.map(pair).join(" "));
  words.set("opacity", opacity);
  words.set("scale", scale);
  if (way !== "from") words.set("way", way);
  words.set("base", base);
  if (shown.some(Boolean)) words.set("maps", shown.map((name) => name ?? "").join(" "));
  if (view.zoom > 1) words.set("view", [view.zoom, view.x, view.y].map((n) => n.toFixed(3)).join(","));
  return `#${words}`;
}

// Take over what a link says, except for the image and what belongs to it, which are returned.
export function follow(fragment) {
  const words = new URLSearchParams(fragment.slice(1));
  const among = (name, known) => (known.includes(words.get(name)) ? words.get(name) : state[name]);
  const opacity = Number(words.get("opacity") ?? state.opacity);
  if (opacity >= 0 && opacity <= 1) state.opacity = opacity;
  state.scale = among("scale", ["own", "common"]);
  state.way = words.get("way") === "to" ? "to" : "from";
  state.base = among("base", ["image", "prediction", "truth", "difference"]);
  state.shown = (words.get("maps") ?? "").split(" ").map((name) => name || undefined);
  const [zoom, x, y] = (words.get("view") ?? "").split(",").map(Number);
  const view = zoom >= 1 && x >= 0 && x <= 1 && y >= 0 && y <= 1 ? { zoom: Math.min(zoom, 16), x, y } : null;
  const pins = (words.get("pins") ?? "").split(" ").map(pixel).filter(Boolean).slice(0, 8);
  return { key: words.get("image"), point: words.get("at") ? pixel(words.get("at")) : null, pins, view };
}
