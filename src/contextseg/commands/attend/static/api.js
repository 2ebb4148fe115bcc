// What the server answers. Every failure is an Error whose message is a sentence for the user.

async function answer(path, options) {
  let response;
  try {
    response = await fetch(path, options);
  } catch {
    throw new Error("the server does not answer: has it been stopped? Start it again, then repeat this");
  }
  if (response.ok) return response;
  let words = `the server refused this (${response.status})`;
  try {
    words = (await response.json()).error ?? words;
  } catch { /* not in JSON: the status must do */ }
  throw new Error(words);
}

const octets = async (path, options) => new Uint8Array(await (await answer(path, options)).arrayBuffer());

// A header and maps, as wire.py packs them: each map gets its numbers.
async function maps(path) {
  const content = await (await answer(path)).arrayBuffer();
  const length = new DataView(content).getUint32(0, true);
  const found = JSON.parse(new TextDecoder().decode(new Uint8Array(content, 4, length)));
  let begin = 4 + length;
  for (const map of found.maps) {
    map.values = new Float32Array(content, begin, map.height * map.width);
    map.area = found.area;
    begin += map.values.byteLength;
  }
  return found;
}

export const page = async () => (await answer("/page")).json();
export const send = async (file) =>
  (await answer(`/images?name=${encodeURIComponent(file.name ?? "")}`, { method: "POST", body: file })).json();
export const thumbnail = (key) => `/images/${key}/thumbnail`;
export const pixels = async (key) => createImageBitmap(await (await answer(`/images/${key}`)).blob());
export const truth = (key) => octets(`/images/${key}/truth`);
export const labels = (model, key, signal) => octets(`/looks/${model}/${key}/labels`, { signal });
export const context = (model, key, { x, y }, way) => maps(`/looks/${model}/${key}/context?x=${x}&y=${y}&way=${way}`);
export const gradient = (model, key, { x, y }) => maps(`/looks/${model}/${key}/gradient?x=${x}&y=${y}`);
export const reach = async (model, key) => (await answer(`/looks/${model}/${key}/reach`)).json();
export const exchange = (model, key, kind) => `/looks/${model}/${key}/reach/${encodeURIComponent(kind)}`;
export const inside = async (model, key) => (await answer(`/looks/${model}/${key}/inside`)).json();
export const partMaps = async (model, key, name) => (await maps(`${part(model, key, name)}/maps`)).maps;
export const part = (model, key, name) => `/looks/${model}/${key}/inside/${encodeURIComponent(name)}`;
