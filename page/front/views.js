// Shows faces and numbers: grids, films and charts. Compares faces.

import { keyed } from "./controls.js";
import { h } from "./dom.js";
import { once } from "./fetched.js";

export const SIDE = 64;
export const FACE_BYTES = SIDE * SIDE * 4;

// Faces are RGBA, 64 x 64 pixels each, one after another.
export const facesOf = (pixels, from, count) => pixels.subarray(from * FACE_BYTES, (from + count) * FACE_BYTES);
export const faceOf = (pixels, index) => facesOf(pixels, index, 1);
export const countOf = (pixels) => pixels.length / FACE_BYTES;

export function paint(canvas, pixels, x = 0, y = 0) {
  canvas.getContext("2d").putImageData(new ImageData(new Uint8ClampedArray(pixels), SIDE, SIDE), x, y);
}

export const canvas = (name = "") => h("canvas", { width: SIDE, height: SIDE, role: "img", "aria-label": name });

const pictures = new Map();

// Returns the faces of a picture file, row by row.
export const facesAt = (url) =>
  once(pictures, `${url}`, async () => {
    const image = new Image();
    image.src = url;
    await image.decode();
    const [columns, rows] = [image.width / SIDE, image.height / SIDE];
    const drawn = h("canvas", { width: image.width, height: image.height });
    const context = drawn.getContext("2d", { willReadFrequently: true });
    context.drawImage(image, 0, 0);
    const pixels = new Uint8ClampedArray(columns * rows * FACE_BYTES);
    for (let i = 0; i < columns * rows; i++) {
      const [x, y] = [i % columns, Math.floor(i / columns)];
      pixels.set(context.getImageData(x * SIDE, y * SIDE, SIDE, SIDE).data, i * FACE_BYTES);
    }
    return pixels;
  });

let made = 0;

// A grid of faces. With `choose`, visitors can choose one; it is called with the index.
export class Faces {
  constructor({ columns = 8, choose = null, group = null } = {}) {
    this.choose = choose;
    this.name = `faces-${made++}`;
    this.cells = [];
    this.element = h("div", {
      class: "faces",
      style: `--columns: ${columns}`,
      role: choose && "radiogroup",
      "aria-label": group,
      onkeydown: (event) => choose && this.turn(event),
    });
  }

  set columns(count) {
    this.element.style.setProperty("--columns", count);
  }

  // Shows faces. `nameOf` returns what screen readers say of the face at an index.
  show(pixels, nameOf) {
    const count = countOf(pixels);
    while (this.cells.length < count) this.add();
    while (this.cells.length > count) this.cells.pop().element.remove();
    this.cells.forEach(({ canvas, radio }, index) => {
      paint(canvas, faceOf(pixels, index));
      (radio ?? canvas).setAttribute("aria-label", nameOf(index));
    });
    this.pixels = pixels;
  }

  add() {
    const index = this.cells.length;
    const cell = { canvas: this.choose ? h("canvas", { width: SIDE, height: SIDE, "aria-hidden": "true" }) : canvas() };
    if (this.choose) cell.radio = h("input", { type: "radio", name: this.name, onchange: () => this.choose(index) });
    cell.element = h(this.choose ? "label" : "figure", {}, [cell.canvas, cell.radio]);
    this.cells.push(cell);
    this.element.append(cell.element);
  }

  // Moves the choice by keys; up and down lead to the rows above and below.
  turn(event) {
    const columns = getComputedStyle(this.element).gridTemplateColumns.split(" ").length;
    const index = this.cells.findIndex(({ radio }) => radio === event.target);
    const to = keyed(event, index, this.cells.length, columns);
    if (to === null || to === index) return;
    this.cells[to].radio.focus();
    this.chosen = to;
    this.choose(to);
  }

  set chosen(index) {
    const radio = this.cells[index]?.radio;
    if (radio) radio.checked = true;
  }
}

export const isStill = () => matchMedia("(prefers-reduced-motion: reduce)").matches;

// An endless film of faces; with `back` it runs there and back. Calls `changed` after each frame, start and stop.
export class Film {
  constructor(name, milliseconds, { back = false, changed = () => {} } = {}) {
    Object.assign(this, { canvas: canvas(name), milliseconds, back, changed, at: 0, forward: 1 });
  }

  get isPlaying() {
    return this.timer !== undefined;
  }

  // Shows a film (n, 64, 64, 4) at one of its faces.
  show(pixels, at = 0) {
    this.pixels = pixels;
    this.seek(Math.min(at, countOf(pixels) - 1));
  }

  seek(at) {
    if (!this.pixels) return;
    this.at = at;
    paint(this.canvas, faceOf(this.pixels, at));
    this.changed();
  }

  // Plays so many frames, while the canvas is in sight.
  play(frames = Infinity) {
    this.stop();
    this.timer = setInterval(() => {
      if (!this.canvas.offsetParent || !this.pixels) return;
      if (frames-- <= 0) this.stop();
      else this.step();
    }, this.milliseconds);
    this.changed();
  }

  step() {
    const count = countOf(this.pixels);
    const next = this.at + this.forward;
    if (this.back && (next < 0 || next >= count)) this.forward *= -1;
    this.seek(this.back ? this.at + this.forward : next % count);
  }

  stop() {
    clearInterval(this.timer);
    this.timer = undefined;
    this.changed();
  }
}

const [WIDTH, HEIGHT, MARGIN, FOOT] = [300, 84, 14, 16];
const across = (share) => MARGIN + share * (WIDTH - 2 * MARGIN);

// A line chart with a movable mark. Coordinates are shares of its width and height, from the bottom left.
export class Chart {
  constructor({ spoken, lines, ticks, band = null }) {
    this.mark = h("line.mark", { y1: 0, y2: HEIGHT });
    const points = (line) =>
      line.map(([x, y]) => `${across(x).toFixed(1)},${(HEIGHT - 2 - (HEIGHT - 6) * y).toFixed(1)}`).join(" ");
    const viewBox = `0 0 ${WIDTH} ${HEIGHT + FOOT}`;
    this.element = h("svg.chart", { viewBox, role: "img", "aria-label": spoken }, [
      band && h("rect", { x: across(band[0]), y: 0, width: across(band[1]) - across(band[0]), height: HEIGHT }),
      h("line.axis", { x1: 0, x2: WIDTH, y1: HEIGHT, y2: HEIGHT }),
      Object.entries(lines).map(([colour, line]) => h("polyline", { class: colour, points: points(line) })),
      ticks.map(([x, label]) => h("text", { x: across(x), y: HEIGHT + FOOT - 3 }, label)),
      this.mark,
    ]);
  }

  set at(share) {
    this.mark.setAttribute("x1", across(share));
    this.mark.setAttribute("x2", across(share));
  }
}

// Returns the root mean square difference of two faces in grey levels. Opacity never differs.
function apart(a, b) {
  let squares = 0;
  for (let i = 0; i < FACE_BYTES; i++) squares += (a[i] - b[i]) ** 2;
  return Math.sqrt(squares / (3 * SIDE * SIDE));
}

// Returns the mean over all pairs of faces of their difference in grey levels.
export function diversity(pixels) {
  const count = countOf(pixels);
  let sum = 0;
  for (let a = 0; a < count; a++) {
    for (let b = 0; b < a; b++) sum += apart(faceOf(pixels, a), faceOf(pixels, b));
  }
  return count < 2 ? 0 : sum / ((count * (count - 1)) / 2);
}

export const psnr = (a, b) => 20 * Math.log10(255 / apart(a, b));

// Returns the difference of faces as {pixels: `gain` times as large, mean: in grey levels}.
export function difference(a, b, gain) {
  const pixels = a.map((value, i) => (i % 4 === 3 ? 255 : gain * Math.abs(value - b[i])));
  const sum = a.reduce((sum, value, i) => sum + Math.abs(value - b[i]), 0);
  return { pixels, mean: sum / ((a.length / 4) * 3) };
}

export const join = (latents) => Float32Array.from(latents.flatMap((z) => [...z]));
