// What a picture of the view is written on: pixels, or SVG with its words as words. Both have the same few methods.

import { drawScale, surface } from "./colour.js";

const FONT = "system-ui, sans-serif", INK = "#222";

export class OnCanvas {
  constructor(width, height) {
    this.canvas = surface(width, height);
    this.context = this.canvas.getContext("2d");
    this.box("#fff", 0, 0, width, height);
    this.context.textBaseline = "top";
  }

  box(colour, x, y, width, height) {
    this.context.fillStyle = colour;
    this.context.fillRect(x, y, width, height);
  }

  words(text, x, y, { bold = false, right = false, wide } = {}) {
    Object.assign(this.context, {
      font: `${bold ? "bold " : ""}14px ${FONT}`, fillStyle: INK, textAlign: right ? "right" : "left",
    });
    this.context.fillText(text, x, y, wide);
  }

  scale(x, y, width, height) { drawScale(this.context, x, y, width, height); }

  picture(canvas, x, y, width, height) { this.context.drawImage(canvas, x, y, width, height); }

  file() { return new Promise((done) => this.canvas.toBlob(done, "image/png")); }
}

const escaped = (text) => text.replace(/[&<>"]/g, (letter) => `&#${letter.charCodeAt(0)};`);

export class OnSvg {
  constructor(width, height) {
    Object.assign(this, { width, height, parts: [] });
    this.box("#fff", 0, 0, width, height);
  }

  box(colour, x, y, width, height) {
    this.parts.push(`<rect x="${x}" y="${y}" width="${width}" height="${height}" fill="${colour}"/>`);
  }

  words(text, x, y, { bold = false, right = false } = {}) {
    const weight = bold ? ' font-weight="bold"' : "", anchor = right ? ' text-anchor="end"' : "";
    this.parts.push(`<text x="${x}" y="${y + 12}"${weight}${anchor}>${escaped(text)}</text>`);
  }

  scale(x, y, width, height) {
    const canvas = surface(256, 1);
    drawScale(canvas.getContext("2d"), 0, 0, 256, 1);
    this.picture(canvas, x, y, width, height);
  }

  picture(canvas, x, y, width, height) {
    const place = `x="${x}" y="${y}" width="${width}" height="${height}" preserveAspectRatio="none"`;
    this.parts.push(`<image ${place} href="${canvas.toDataURL("image/png")}"/>`);
  }

  file() {
    const { width, height, parts } = this;
    const head = `xmlns="http://www.w3.org/2000/svg" width="${width}" height="${height}" viewBox="0 0 ${width} ${height}"`;
    const style = `font-family="${FONT}" font-size="14" fill="${INK}"`;
    const text = `<svg ${head}><g ${style}>${parts.join("\n")}</g></svg>\n`;
    return Promise.resolve(new Blob([text], { type: "image/svg+xml" }));
  }
}
