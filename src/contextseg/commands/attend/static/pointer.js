// From mouse, finger and keys to a pixel of the image, a pin, a zoom.

import { seen } from "./drawing.js";
import { pin, unpin } from "./pins.js";
import { emit, setPoint, state } from "./state.js";

const STEPS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };

export function handled(canvas) {
  const at = (event) => {
    const box = canvas.getBoundingClientRect(), part = seen();
    return {
      x: part.left + ((event.clientX - box.left) / box.width) * part.width,
      y: part.top + ((event.clientY - box.top) / box.height) * part.height,
    };
  };
  canvas.onpointermove = (event) => state.image && setPoint(at(event));
  canvas.onpointerdown = (event) => {
    if (!state.image || event.button) return;
    setPoint(at(event));
    if (event.pointerType === "mouse") pin();  // a finger looks around first, and pins with the button
  };
  canvas.onkeydown = (event) => state.image && key(event);
  canvas.addEventListener("wheel", (event) => {
    if (!state.image || !event.ctrlKey) return;  // a plain wheel scrolls the page; a pinch comes with Ctrl
    event.preventDefault();
    setPoint(at(event));
    zoom(event.deltaY < 0 ? 1.25 : 0.8);
  }, { passive: false });
}

function key(event) {
  const step = STEPS[event.key];
  const acts = { Enter: pin, " ": pin, Delete: () => unpin(), Backspace: () => unpin(),
    "+": () => zoom(1.5), "=": () => zoom(1.5), "-": () => zoom(1 / 1.5), 0: () => zoom(0) };
  if (event.ctrlKey || event.metaKey || event.altKey || !(step || acts[event.key])) return;
  event.preventDefault();
  if (!step) return acts[event.key]();
  const { x, y } = state.point ?? { x: state.image.width / 2, y: state.image.height / 2 };
  const far = event.shiftKey ? 10 : 1;
  setPoint({ x: x + far * step[0], y: y + far * step[1] });
  keepInView();
}

// Zoom by a factor about the pixel; the place of the pixel on the screen stays. 0: the whole image.
export function zoom(factor) {
  const { width, height } = state.image, point = state.point ?? { x: width / 2, y: height / 2 };
  const before = seen(), next = factor ? Math.min(16, Math.max(1, state.view.zoom * factor)) : 1;
  const centre = (place, begin, part, size) => {
    const share = (place + 0.5 - begin) / part;  // where in the view the pixel lies
    return (place + 0.5 + (0.5 - share) * (size / next)) / size;
  };
  state.view = {
    zoom: next, x: centre(point.x, before.left, before.width, width),
    y: centre(point.y, before.top, before.height, height),
  };
  const { left, top, width: wide, height: high } = seen();  // within the image
  state.view = { zoom: next, x: (left + wide / 2) / width, y: (top + high / 2) / height };
  emit("view");
}

function keepInView() {
  const { left, top, width, height } = seen(), { x, y } = state.point;
  if (x >= left && x < left + width && y >= top && y < top + height) return;
  Object.assign(state.view, { x: x / state.image.width, y: y / state.image.height });
  emit("view");
}
