// From numbers to colours: maps by the scale of the server, labels by the palette of their classes.

const RIGHT = [205, 213, 222], WRONG = [200, 30, 40], VOID = [255, 255, 255];  // as in viz.py
export const PINS = ["#00b3ff", "#7cff4f", "#ff9d00", "#ff5fd7", "#ffffff", "#ffe600", "#9d8bff", "#00ffd5"];
let scale = [];

export function setScale(colours) { scale = colours; }

export function surface(width, height) {
  return Object.assign(document.createElement("canvas"), { width, height });
}

function painted(width, height, colourOf) {
  const canvas = surface(width, height), context = canvas.getContext("2d");
  const image = context.createImageData(width, height);
  for (let i = 0; i < width * height; i++) {
    const [red, green, blue, alpha = 255] = colourOf(i);
    image.data.set([red, green, blue, alpha], 4 * i);
  }
  context.putImageData(image, 0, 0);
  return canvas;
}

// A map as a light: bright and opaque where it is near `top`, the number at the end of the scale.
export function heat(map, top) {
  return painted(map.width, map.height, (i) => {
    const level = Math.min(1, Math.max(0, map.values[i] / (top || 1)));
    return [...scale[Math.round(255 * level)], 255 * Math.sqrt(level)];
  });
}

export const coloured = (labels, { width, height }, palette) =>
  painted(width, height, (i) => palette[labels[i]] ?? VOID);

export const difference = (labels, truth, { width, height }) =>
  painted(width, height, (i) => (truth[i] === 255 ? VOID : truth[i] === labels[i] ? RIGHT : WRONG));

// The image in dark grey, on which a map shines.
export function dimmed(image) {
  const canvas = surface(image.width, image.height), context = canvas.getContext("2d");
  context.drawImage(image, 0, 0);
  const data = context.getImageData(0, 0, image.width, image.height);
  for (let i = 0; i < data.data.length; i += 4) {
    data.data.fill((0.7 * (data.data[i] + data.data[i + 1] + data.data[i + 2])) / 3, i, i + 3);
  }
  context.putImageData(data, 0, 0);
  return canvas;
}

export function drawScale(context, x, y, width, height) {
  const step = width / 256;
  scale.forEach(([red, green, blue], i) => {
    context.fillStyle = `rgb(${red} ${green} ${blue})`;
    context.fillRect(x + i * step, y, step + 1, height);
  });
}

export const number = (value) => (value === 0 ? "0" : Number(value.toPrecision(2)).toString());
export const percent = (share) => (share < 0.0005 ? "<0.1 %" : `${(100 * share).toFixed(share < 0.0995 ? 1 : 0)} %`);
