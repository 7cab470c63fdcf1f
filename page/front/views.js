// What faces and numbers look like: grids of canvases, moving walks, small charts.

import { button, h } from "./dom.js";

export const SIDE = 64;
export const FACE_BYTES = SIDE * SIDE * 4;

export const faceOf = (pixels, index) => pixels.subarray(index * FACE_BYTES, (index + 1) * FACE_BYTES);

export function paint(canvas, pixels) {
  canvas.getContext("2d").putImageData(new ImageData(new Uint8ClampedArray(pixels), SIDE, SIDE), 0, 0);
}

export const canvas = (name = "") => h("canvas", { width: SIDE, height: SIDE, role: "img", "aria-label": name });

// Faces side by side, of which one can be chosen where `choose` is told its index.
export class Faces {
  constructor({ columns = 8, choose = null, group = "" } = {}) {
    this.choose = choose;
    this.cells = [];
    this.element = h("div", {
      class: "faces",
      style: `--columns: ${columns}`,
      role: choose ? "radiogroup" : null,
      "aria-label": group || null,
    });
  }

  // Pixels (n, 64, 64, 4), with a name of each to be read aloud and, where given, a caption to be seen.
  show(pixels, names, captions = []) {
    const count = pixels.length / FACE_BYTES;
    while (this.cells.length < count) this.add();
    while (this.cells.length > count) this.cells.pop().element.remove();
    this.cells.forEach((cell, index) => {
      paint(cell.canvas, faceOf(pixels, index));
      (cell.radio ?? cell.canvas).setAttribute("aria-label", names[index]);
      cell.caption.textContent = captions[index] ?? "";
    });
    this.pixels = pixels;
  }

  add() {
    const index = this.cells.length;
    const cell = { canvas: canvas(), caption: h("figcaption") };
    if (this.choose) {
      cell.radio = h("input", { type: "radio", name: "face", onchange: () => this.choose(index) });
      cell.canvas.setAttribute("aria-hidden", "true");
      cell.canvas.removeAttribute("role");
    }
    cell.element = h(this.choose ? "label" : "figure", {}, cell.canvas, cell.radio, this.choose ? null : cell.caption);
    this.cells.push(cell);
    this.element.append(cell.element);
  }

  set chosen(index) {
    const radio = this.cells[Math.min(index, this.cells.length - 1)]?.radio;
    if (radio) radio.checked = true;
  }
}

const STILL = matchMedia("(prefers-reduced-motion: reduce)");

// A walk of faces there and back again, while it is on screen; still for who wants less motion, until played.
export class Walk {
  constructor() {
    this.canvas = canvas("The walk from A to B and back");
    this.button = button("", () => this.play(!this.playing));
    this.element = h("div", { class: "walk" }, this.canvas, this.button);
    this.at = 0;
    this.play(!STILL.matches);
    setInterval(() => this.playing && this.canvas.offsetParent && this.step(), 80);
  }

  play(on) {
    this.playing = on;
    this.button.textContent = on ? "Pause" : "Play";
  }

  show(pixels) {
    this.pixels = pixels;
    this.step(0);
  }

  step(by = 1) {
    if (!this.pixels) return;
    const count = this.pixels.length / FACE_BYTES;
    this.at = (this.at + by) % (2 * count - 2);
    paint(this.canvas, faceOf(this.pixels, this.at < count ? this.at : 2 * count - 2 - this.at));
  }
}

const [WIDTH, HEIGHT, MARGIN, FOOT] = [300, 84, 14, 16];
const across = (share) => MARGIN + share * (WIDTH - 2 * MARGIN);

// A line chart in shares of its width and height, from the bottom left, with a mark that moves.
export class Chart {
  constructor({ spoken, lines, ticks, band = null }) {
    this.mark = h("line", { class: "mark", y1: 0, y2: HEIGHT });
    const points = (line) =>
      line.map(([x, y]) => `${across(x).toFixed(1)},${(HEIGHT - 2 - (HEIGHT - 6) * y).toFixed(1)}`).join(" ");
    this.element = h(
      "svg",
      { class: "chart", viewBox: `0 0 ${WIDTH} ${HEIGHT + FOOT}`, role: "img", "aria-label": spoken },
      band && h("rect", { x: across(band[0]), y: 0, width: across(band[1]) - across(band[0]), height: HEIGHT }),
      h("line", { class: "axis", x1: 0, x2: WIDTH, y1: HEIGHT, y2: HEIGHT }),
      Object.entries(lines).map(([colour, line]) => h("polyline", { class: colour, points: points(line) })),
      ticks.map(([x, label]) => h("text", { x: across(x), y: HEIGHT + FOOT - 3 }, label)),
      this.mark,
    );
  }

  set at(share) {
    this.mark.setAttribute("x1", across(share));
    this.mark.setAttribute("x2", across(share));
  }
}

// How far two of the faces are apart: the root mean square of their difference in grey levels, averaged over all pairs.
export function diversity(pixels) {
  const count = pixels.length / FACE_BYTES;
  if (count < 2) return 0;
  let sum = 0;
  for (let a = 0; a < count; a++) {
    for (let b = 0; b < a; b++) {
      let squares = 0;
      for (let i = 0; i < FACE_BYTES; i++) squares += (pixels[a * FACE_BYTES + i] - pixels[b * FACE_BYTES + i]) ** 2;
      sum += Math.sqrt(squares / (3 * SIDE * SIDE)); // The fourth number, opacity, never differs.
    }
  }
  return sum / ((count * (count - 1)) / 2);
}

export function difference(a, b, gain) {
  const change = new Uint8ClampedArray(a.length);
  let sum = 0;
  for (let i = 0; i < a.length; i++) {
    if (i % 4 === 3) change[i] = 255;
    else {
      sum += Math.abs(a[i] - b[i]);
      change[i] = gain * Math.abs(a[i] - b[i]);
    }
  }
  return { pixels: change, mean: sum / ((a.length / 4) * 3) };
}

export function psnr(a, b) {
  let squares = 0;
  for (let i = 0; i < a.length; i++) squares += (a[i] - b[i]) ** 2;
  return 10 * Math.log10(255 ** 2 / (squares / ((a.length / 4) * 3)));
}

export function join(arrays) {
  const joined = new arrays[0].constructor(arrays.reduce((length, array) => length + array.length, 0));
  let at = 0;
  for (const array of arrays) {
    joined.set(array, at);
    at += array.length;
  }
  return joined;
}
