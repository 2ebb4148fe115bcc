// The page: builds it from what the server offers, and redraws it when something changes.

import * as api from "./api.js";
import { setScale } from "./colour.js";
import { find, make, sentence, tell, telling } from "./dom.js";
import { byKey, first, offer, told } from "./images.js";
import { panels } from "./maps.js";
import { Panel } from "./panel.js";
import { save, saveSvg } from "./picture.js";
import { askPins, clearPins, drawPins, pin } from "./pins.js";
import { zoom } from "./pointer.js";
import { Readout } from "./readout.js";
import { follow, link, on, setPoint, state } from "./state.js";

let drawing = false;
function redraw() {
  if (drawing) return;
  drawing = true;
  requestAnimationFrame(() => {
    drawing = false;
    for (const panel of panels) panel.draw();
    drawPins();
  });
}

let remembering = 0;
function remember() {  // in the address, at rest: browsers allow few changes a second
  clearTimeout(remembering);
  remembering = setTimeout(() => {
    history.replaceState(null, "", link());
    if (state.point) find("spoken").textContent = spoken();
  }, 300);
}

function spoken() {
  const said = panels.map((panel) => `${panel.model.name}: ${Readout.words(panel.model, panel.readout.best)}`);
  return `Pixel ${state.point.x}, ${state.point.y}. ${said.join("; ")}`;
}

function controls() {
  find("opacity").oninput = (event) => { state.opacity = event.target.valueAsNumber; changed(); };
  find("scale").onchange = (event) => { state.scale = event.target.value; changed(); };
  find("base").onchange = (event) => { state.base = event.target.value; changed(); };
  find("way").onchange = (event) => { state.way = event.target.value; turned(); };
  const withImage = (work) => () => state.image && telling(find("view-error"), async () => work());
  find("nearer").onclick = withImage(() => zoom(1.5));
  find("farther").onclick = withImage(() => zoom(1 / 1.5));
  find("pin").onclick = () => pin();
  find("save").onclick = withImage(save);
  find("save-svg").onclick = withImage(saveSvg);
  find("link").onclick = withImage(async () => {
    history.replaceState(null, "", link());
    await navigator.clipboard.writeText(location.href).catch(() => {
      throw new Error("the browser keeps the clipboard closed: copy the address of this page, it is the link");
    });
    find("link").textContent = "Copied";
    setTimeout(() => { find("link").textContent = "Copy link"; }, 1500);
  });
  new ResizeObserver(redraw).observe(find("panels"));
  window.onhashchange = () => told(() => restore(location.hash));
}

function changed() {
  const truth = state.image?.truthLabels && panels.some((panel) => panel.model.truth);
  const names = truth ? ["image", "prediction", "truth", "difference"] : ["image", "prediction"];
  if (find("base").children.length !== names.length) {
    find("base").replaceChildren(...names.map((name) => make("option", { value: name }, name)));
  }
  find("base").value = names.includes(state.base) ? state.base : "image";
  find("opacity").value = state.opacity;
  find("scale").value = state.scale;
  find("way").value = state.way;
  find("pin").disabled = !state.point;
  redraw();
  remember();
}

// The maps are read the other way round: all are asked for again.
function turned() {
  panels.forEach((panel) => panel.follow());
  askPins();
  changed();
}

// Show what a link says; without one, the first image.
async function restore(fragment) {
  const { key, point, pins, view } = follow(fragment);
  if (key) await byKey(key);
  else if (first()) await byKey(first().key);
  if (!state.image) return;
  if (view) state.view = view;
  if (point) setPoint(point);
  for (const each of pins) pin(each);
  changed();
}

on("image", () => {
  clearPins();
  panels.forEach((panel) => panel.open());
  changed();
});
on("point", () => {
  panels.forEach((panel) => panel.follow());
  changed();
});
on("view", changed);
on("answer", changed);

async function start() {
  try {
    const page = await api.page();
    state.models = page.models;
    setScale(page.scale);
    panels.push(...page.models.map((model, index) => new Panel(index, model)));
    find("panels").append(...panels.map((panel) => panel.element));
    find("panels").dataset.count = panels.length;
    offer(page);
    controls();
  } catch (error) {
    return tell(find("image-error"), sentence(error));
  }
  await told(() => restore(location.hash));
}

start();
