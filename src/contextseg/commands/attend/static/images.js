// Which image: a thumbnail, an upload, one dropped on the page or pasted.

import * as api from "./api.js";
import { dimmed } from "./colour.js";
import { find, make, telling } from "./dom.js";
import { emit, state } from "./state.js";

let known = [];

export function offer({ images, megabytes, megapixels }) {
  known = images;
  find("limits").textContent = `or drop or paste one (up to ${megabytes} MB and ${megapixels} megapixels)`;
  find("thumbnails").replaceChildren(...known.map(thumbnail));
  find("file").onchange = () => {
    upload(find("file").files);
    find("file").value = "";  // the same file may be chosen again
  };
  document.onpaste = (event) => upload(event.clipboardData.files);
  document.ondragover = (event) => {
    event.preventDefault();
    document.body.classList.add("dropping");
  };
  document.ondragleave = (event) => event.relatedTarget ?? document.body.classList.remove("dropping");
  document.ondrop = (event) => {
    event.preventDefault();
    document.body.classList.remove("dropping");
    upload(event.dataTransfer.files);
  };
}

function thumbnail(facts) {
  const picture = make("img", { src: api.thumbnail(facts.key), alt: facts.name, title: facts.name });
  const button = make("button", { className: "tile" }, picture);
  button.dataset.key = facts.key;
  button.onclick = () => told(() => open(facts));
  return button;
}

// What goes wrong with an image is told here, and the image before stays.
export const told = (work) => telling(find("image-error"), work);

function upload(files) {
  if (files.length) return told(async () => add(await api.send(files[0])));
}

async function add(facts) {
  await open(facts);
  if (known.some(({ key }) => key === facts.key)) return;
  known.push(facts);
  find("thumbnails").append(thumbnail(facts));
  choose();
}

export const first = () => known[0];
export async function byKey(key) {
  const facts = known.find((one) => one.key === key);
  if (facts) return open(facts);
  throw new Error("the image of this link is not on the page: if it was uploaded, upload it again, then open the link");
}

let wanted = null;  // the image that was asked for last
async function open(facts) {
  wanted = facts.key;
  const [bitmap, truthLabels] = await Promise.all([
    api.pixels(facts.key), facts.truth ? api.truth(facts.key) : null,
  ]);
  if (wanted !== facts.key) return;
  state.image = { ...facts, bitmap, dimmed: dimmed(bitmap), truthLabels };
  Object.assign(state, { point: null, view: { zoom: 1, x: 0.5, y: 0.5 } });
  const [width, height] = facts.given;
  const scaled = width === facts.width ? "" : `, scaled down to ${facts.width} x ${facts.height}`;
  find("size").textContent = `${facts.name}: ${width} x ${height}${scaled}`;
  choose();
  emit("image");
}

function choose() {
  for (const button of find("thumbnails").children) {
    button.setAttribute("aria-pressed", button.dataset.key === state.image.key);
  }
}
