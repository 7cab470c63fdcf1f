// Writes and reads faces as files that hold their recipes.

import { h } from "./dom.js";
import { GIFEncoder, applyPalette, quantize } from "./vendor/gifenc.js";
import { SIDE, canvas, countOf, faceOf, paint } from "./views.js";

// The side of a saved picture, and how many times a GIF's frames are larger than faces.
const SAVED_SIDE = 512;
const SCALE = 4;

const TABLE = Uint32Array.from({ length: 256 }, (_, n) => {
  for (let k = 0; k < 8; k++) n = n & 1 ? 0xedb88320 ^ (n >>> 1) : n >>> 1;
  return n;
});

export function checksum(bytes) {
  let crc = ~0;
  for (const byte of bytes) crc = TABLE[(crc ^ byte) & 255] ^ (crc >>> 8);
  return ~crc >>> 0;
}

// Returns an enlarged face as a PNG. `texts`, by their names, become chunks of international text (PNG specification,
// 11.3.3.4).
export async function pngWith(pixels, texts, { smooth = true } = {}) {
  const [face, large] = [canvas(), h("canvas", { width: SAVED_SIDE, height: SAVED_SIDE })];
  paint(face, pixels);
  const context = large.getContext("2d");
  context.imageSmoothingEnabled = smooth;
  context.imageSmoothingQuality = "high";
  context.drawImage(face, 0, 0, SAVED_SIDE, SAVED_SIDE);
  const blob = await new Promise((resolve) => large.toBlob(resolve, "image/png"));
  const chunks = Object.entries(texts).map(([name, text]) => {
    const content = new TextEncoder().encode(`iTXt${name}\0\0\0\0\0${text}`);
    const chunk = new DataView(new ArrayBuffer(content.length + 8));
    chunk.setUint32(0, content.length - 4);
    new Uint8Array(chunk.buffer).set(content, 4);
    chunk.setUint32(content.length + 4, checksum(content));
    return chunk.buffer;
  });
  const afterHeader = 33; // The signature's 8 bytes and the 25 of the first chunk.
  return new Blob([blob.slice(0, afterHeader), ...chunks, blob.slice(afterHeader)], { type: "image/png" });
}

const latin = (bytes) => new TextDecoder("latin1").decode(bytes);

// Returns a PNG's texts by their names, as the page and Pillow write them. Other files have none.
export function textsOf(bytes) {
  const texts = new Map();
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  if (bytes.length < 8 || view.getUint32(0) !== 0x89504e47) return texts;
  for (let at = 8; at + 12 <= bytes.length;) {
    const end = at + 8 + view.getUint32(at);
    const kind = latin(bytes.subarray(at + 4, at + 8));
    const content = bytes.subarray(at + 8, end);
    const name = content.indexOf(0);
    // A tEXt chunk is a name, 0 and the text; an iTXt chunk has two flags and two more names between.
    if (kind === "tEXt") texts.set(latin(content.subarray(0, name)), latin(content.subarray(name + 1)));
    if (kind === "iTXt" && !content[name + 1]) {
      const text = content.indexOf(0, content.indexOf(0, name + 3) + 1) + 1;
      texts.set(latin(content.subarray(0, name)), new TextDecoder().decode(content.subarray(text)));
    }
    at = end + 4;
  }
  return texts;
}

// Returns faces as an endless GIF of 256 x 256, there and back again. `delay` is in milliseconds.
export function gif(pixels, delay) {
  const encoder = GIFEncoder();
  const count = countOf(pixels);
  const order = [...Array(count).keys(), ...Array.from({ length: count - 2 }, (_, i) => count - 2 - i)];
  const side = SIDE * SCALE;
  for (const index of order) {
    const face = faceOf(pixels, index).slice(); // The encoder reads the whole buffer.
    const palette = quantize(face, 256);
    // The palette is applied before the face is enlarged, which is less work.
    const small = applyPalette(face, palette);
    const place = (i) => Math.floor(i / side / SCALE) * SIDE + Math.floor((i % side) / SCALE);
    const large = Uint8Array.from({ length: side * side }, (_, i) => small[place(i)]);
    encoder.writeFrame(large, side, side, { palette, delay, repeat: 0 });
  }
  encoder.finish();
  return new Blob([encoder.bytes()], { type: "image/gif" });
}
