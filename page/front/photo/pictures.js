// Reads photographs, and resizes them by the same arithmetic in every browser. A picture is {width, height, data}, RGBA
// and opaque, as an ImageData.

import { h } from "../dom.js";
import { SIDE } from "../views.js";

// A photograph is first reduced until its shorter side has from 256 to 511 pixels.
const LEAST_SIDE = 256;
// Of a longer picture, only the middle is taken.
const MOST_RATIO = 4;

/** Reads a file as a picture, upright by its EXIF, on a white ground. */
export async function open(file) {
  let bitmap;
  try {
    bitmap = await createImageBitmap(file, { imageOrientation: "from-image" });
  } catch {
    throw new Error("Your browser cannot read this file as a picture. Try a JPEG or a PNG.");
  }
  const picture = reduced(bitmap);
  bitmap.close();
  return picture;
}

// Reduces a photograph to averages of whole squares of pixels.
function reduced(bitmap) {
  const longest = MOST_RATIO * Math.min(bitmap.width, bitmap.height);
  const [width, height] = [Math.min(bitmap.width, longest), Math.min(bitmap.height, longest)];
  const [left, top] = [Math.floor((bitmap.width - width) / 2), Math.floor((bitmap.height - height) / 2)];
  const factor = Math.max(1, Math.floor(Math.min(width, height) / LEAST_SIDE));
  const small = blank(Math.ceil(width / factor), Math.ceil(height / factor));
  // Row by row, since a photograph may be larger than a browser's canvas.
  const context = contextOf(width, factor);
  context.fillStyle = "white";
  for (let y = 0; y < small.height; y++) {
    const rows = Math.min(factor, height - y * factor);
    context.fillRect(0, 0, width, rows);
    context.drawImage(bitmap, left, top + y * factor, width, rows, 0, 0, width, rows);
    const { data } = context.getImageData(0, 0, width, rows);
    for (let x = 0; x < small.width; x++) {
      const columns = Math.min(factor, width - x * factor);
      for (let c = 0; c < 3; c++) {
        let sum = 0;
        for (let row = 0; row < rows; row++) {
          const at = 4 * (row * width + x * factor) + c;
          for (let column = 0; column < columns; column++) sum += data[at + 4 * column];
        }
        small.data[4 * (y * small.width + x) + c] = Math.round(sum / (rows * columns));
      }
    }
  }
  return small;
}

const contextOf = (width, height) => h("canvas", { width, height }).getContext("2d", { willReadFrequently: true });

/** Returns the present frame of a video, reduced. */
export function snapshot(video) {
  const scale = LEAST_SIDE / Math.min(video.videoWidth, video.videoHeight);
  const [width, height] = [video.videoWidth, video.videoHeight].map((size) => Math.round(size * scale));
  const context = contextOf(width, height);
  context.drawImage(video, 0, 0, width, height);
  return context.getImageData(0, 0, width, height);
}

const blank = (width, height) => ({ width, height, data: new Uint8ClampedArray(4 * width * height).fill(255) });

/** Returns a part of a picture. */
export function part({ width, data }, left, top, right, bottom) {
  const cut = blank(right - left, bottom - top);
  for (let y = 0; y < cut.height; y++) {
    const from = 4 * ((top + y) * width + left);
    cut.data.set(data.subarray(from, from + 4 * cut.width), 4 * y * cut.width);
  }
  return cut;
}

/** Returns a picture turned counter-clockwise by quarters. */
export function turned(picture, quarters) {
  if (!quarters) return picture;
  const { width, height, data } = turned(picture, quarters - 1);
  const pixels = new Uint32Array(data.buffer);
  const made = blank(height, width);
  const to = new Uint32Array(made.data.buffer);
  for (let y = 0; y < made.height; y++) {
    for (let x = 0; x < made.width; x++) to[y * made.width + x] = pixels[x * width + width - 1 - y];
  }
  return made;
}

// Each of these returns, for each of `size` pixels, the first of the `length` pixels that it is made of, and the weights
// from there on.
const tent = (length, size) => weighed(length, size, 1, (x) => Math.max(0, 1 - x));
// Keys 1981, with the steepness that antialiasing filters have in Pillow and PyTorch.
const cubic = (length, size) => weighed(length, size, 2, (x) => keys(x, -0.5));
const mean = (length, size) =>
  Array.from({ length: size }, (_, i) => {
    const first = Math.floor((i * length) / size);
    const count = Math.ceil(((i + 1) * length) / size) - first;
    return { first, weights: Array(count).fill(1 / count) };
  });

function weighed(length, size, reach, weightAt) {
  const scale = length / size;
  const stretch = Math.max(1, scale);
  return Array.from({ length: size }, (_, i) => {
    const centre = (i + 0.5) * scale;
    const first = Math.max(0, Math.trunc(centre - reach * stretch + 0.5));
    const end = Math.min(length, Math.trunc(centre + reach * stretch + 0.5));
    const weights = Array.from({ length: end - first }, (_, j) =>
      weightAt(Math.abs(first + j - centre + 0.5) / stretch),
    );
    const total = weights.reduce((sum, weight) => sum + weight);
    return { first, weights: weights.map((weight) => weight / total) };
  });
}

function keys(x, steepness) {
  if (x >= 2) return 0;
  if (x >= 1) return steepness * (((x - 5) * x + 8) * x - 4);
  return ((steepness + 2) * x - (steepness + 3)) * x * x + 1;
}

// Returns a picture with its rows at another length, transposed, and not rounded.
function stretched({ width, height, data }, length, weigh) {
  const made = new Float32Array(4 * length * height).fill(255);
  weigh(width, length).forEach(({ first, weights }, x) => {
    for (let y = 0; y < height; y++) {
      for (let c = 0; c < 3; c++) {
        let at = 4 * (y * width + first) + c;
        let sum = 0;
        for (let j = 0; j < weights.length; j++, at += 4) sum += weights[j] * data[at];
        made[4 * (x * height + y) + c] = sum;
      }
    }
  });
  return { width: height, height: length, data: made };
}

/** Returns a resized picture, as PyTorch does with antialiasing: width first. */
export function resized(picture, width, height, weigh = cubic) {
  const rounded = (picture) => ({ ...picture, data: new Uint8ClampedArray(picture.data) });
  return rounded(stretched(rounded(stretched(picture, width, weigh)), height, weigh));
}

/** Returns a part of a picture, resized to means over areas, as the detector takes it: from -1 to 1, (3, height, width). */
export function means(picture, [left, top, right, bottom], width, height) {
  const wide = stretched(part(picture, left, top, right, bottom), width, mean);
  return planes(stretched(wide, height, mean).data, 128);
}

/** Returns a picture colour by colour, where 127.5 is 0. */
export function planes(data, unit) {
  const size = data.length / 4;
  const made = new Float32Array(3 * size);
  for (let i = 0; i < made.length; i++) made[i] = (data[4 * (i % size) + Math.floor(i / size)] - 127.5) / unit;
  return made;
}

/** Returns the square middle of a picture, resized to 64 x 64, as models/images.py does. */
export function middle(picture) {
  const scale = SIDE / Math.min(picture.width, picture.height);
  const [width, height] = [picture.width, picture.height].map((size) => Math.max(SIDE, Math.round(size * scale)));
  const [left, top] = [Math.floor((width - SIDE) / 2), Math.floor((height - SIDE) / 2)];
  return part(resized(picture, width, height, tent), left, top, left + SIDE, top + SIDE);
}

/** Returns a square sampled from a picture. A DOMMatrix maps its points to the picture's; edges continue outwards. */
export function sampled({ width, height, data }, side, toPicture) {
  const made = blank(side, side);
  const across = new Float64Array(4);
  const { a, b, c, d, e, f } = toPicture;
  for (let y = 0.5; y < side; y++) {
    for (let x = 0.5; x < side; x++) {
      const point = [a * x + c * y + e, b * x + d * y + f];
      const [left, top] = point.map((value) => Math.floor(value - 0.5) - 1);
      for (let i = 0; i < 4; i++) across[i] = keys(Math.abs(left + i + 0.5 - point[0]), STEEPNESS);
      let [red, green, blue] = [0, 0, 0];
      for (let j = 0; j < 4; j++) {
        const down = keys(Math.abs(top + j + 0.5 - point[1]), STEEPNESS);
        const row = Math.min(height - 1, Math.max(0, top + j)) * width;
        for (let i = 0; i < 4; i++) {
          const at = 4 * (row + Math.min(width - 1, Math.max(0, left + i)));
          const weight = down * across[i];
          red += weight * data[at];
          green += weight * data[at + 1];
          blue += weight * data[at + 2];
        }
      }
      made.data.set([red, green, blue], 4 * (Math.floor(y) * side + Math.floor(x)));
    }
  }
  return made;
}

// The steepness of PyTorch's grid_sample.
const STEEPNESS = -0.75;
