// What faces and numbers look like: grids of canvases, films of faces, small charts.

import { keyed } from "./controls.js";
import { h } from "./dom.js";

export const SIDE = 64;
export const FACE_BYTES = SIDE * SIDE * 4;

export const faceOf = (pixels, index) => pixels.subarray(index * FACE_BYTES, (index + 1) * FACE_BYTES);

export const countOf = (pixels) => pixels.length / FACE_BYTES;

export function paint(canvas, pixels) {
  canvas.getContext("2d").putImageData(new ImageData(new Uint8ClampedArray(pixels), SIDE, SIDE), 0, 0);
}

export const canvas = (name = "") => h("canvas", { width: SIDE, height: SIDE, role: "img", "aria-label": name });

// The faces of a picture, row by row.
export function facesOf(image) {
  const drawn = h("canvas", { width: image.width, height: image.height });
  const context = drawn.getContext("2d", { willReadFrequently: true });
  context.drawImage(image, 0, 0);
  const [columns, rows] = [image.width / SIDE, image.height / SIDE];
  const pixels = new Uint8ClampedArray(columns * rows * FACE_BYTES);
  for (let i = 0; i < columns * rows; i++) {
    const [x, y] = [i % columns, Math.floor(i / columns)];
    pixels.set(context.getImageData(x * SIDE, y * SIDE, SIDE, SIDE).data, i * FACE_BYTES);
  }
  return pixels;
}

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
      onkeydown: (event) => choose && this.turn(event),
    });
  }

  // Pixels (n, 64, 64, 4), with a name of each to be read aloud and, where given, a caption to be seen.
  show(pixels, names, captions = []) {
    const count = countOf(pixels);
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
      cell.radio = h("input", { type: "radio", name: this.group, onchange: () => this.choose(index) });
      cell.canvas.setAttribute("aria-hidden", "true");
      cell.canvas.removeAttribute("role");
      cell.canvas.removeAttribute("aria-label");
    }
    cell.element = h(this.choose ? "label" : "figure", {}, cell.canvas, cell.radio, this.choose ? null : cell.caption);
    this.cells.push(cell);
    this.element.append(cell.element);
  }

  get group() {
    return (this.name ??= `faces-${Math.random()}`);
  }

  // Up and down lead to the rows above and below.
  turn(event) {
    const columns = getComputedStyle(this.element).gridTemplateColumns.split(" ").length;
    const index = this.cells.findIndex(({ radio }) => radio === event.target);
    const to = keyed(event, index, this.cells.length, columns);
    if (to === null || to === index) return;
    this.cells[to].radio.focus();
    this.cells[to].radio.checked = true;
    this.choose(to);
  }

  set chosen(index) {
    const radio = this.cells[Math.min(index, this.cells.length - 1)]?.radio;
    if (radio) radio.checked = true;
  }
}

export const isStill = () => matchMedia("(prefers-reduced-motion: reduce)").matches;

const FRAME_MILLISECONDS = 80;

// Faces shown one after another on one canvas, forward again and again or, with `back`, there and back. `changed` is
// told of each frame, and of each start and end.
export class Film {
  constructor(name, { back = false, changed = () => {} } = {}) {
    Object.assign(this, { canvas: canvas(name), back, changed, at: 0, forward: 1 });
  }

  get isPlaying() {
    return this.timer !== undefined;
  }

  // Faces (n, 64, 64, 4), from one of them on.
  show(pixels, at = 0) {
    this.pixels = pixels;
    this.seek(Math.min(at, countOf(pixels) - 1));
  }

  seek(at) {
    this.at = at;
    paint(this.canvas, faceOf(this.pixels, at));
    this.changed();
  }

  // Play so many frames, while the canvas is in sight.
  play(frames = Infinity) {
    this.stop();
    this.timer = setInterval(() => {
      if (!this.canvas.offsetParent || !this.pixels) return;
      if (frames-- <= 0) this.stop();
      else this.step();
    }, FRAME_MILLISECONDS);
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
