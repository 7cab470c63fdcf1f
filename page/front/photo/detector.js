// Finds faces and landmarks by MTCNN (Zhang et al. 2016, arXiv:1604.02878): three networks, and between them what
// facenet-pytorch does, with the same constants.

import { means } from "./pictures.js";

// The least probability of a face is `sure`. The last two look at boxes, at so many pixels.
const PNET = { name: "pnet", graph: "pnet", sure: 0.6 };
const RNET = { name: "rnet", graph: "rnet", sure: 0.7, side: 24 };
const ONET = { name: "onet", graph: "onet", sure: 0.7, side: 48 };

// Each scale of the pyramid is so many times the one before.
const SHRINK = 0.709;
// The first network looks at squares of 12 pixels, 2 apart.
const [CELL, STRIDE] = [12, 2];
// The least probability of a face that is returned.
const FACE_PROBABILITY = 0.9;

/**
 * Resolves to the faces in a picture, the largest first: {probability, landmarks: [x, y] of both eyes, the nose and the
 * corners of the mouth}. Faces narrower than about `least` pixels are not found. The picture must not be narrower.
 */
export async function detect(decoder, picture, least) {
  let boxes = await proposed(decoder, picture, least);
  boxes = await refined(decoder, picture, boxes, RNET);
  boxes = suppressed(boxes, 0.7).map((box) => square(moved(box)));
  boxes = await refined(decoder, picture, boxes, ONET);
  const faces = boxes.map((box) => ({ ...moved(box), landmarks: landmarks(box) }));
  return suppressed(faces, 0.7, shareOfSmaller)
    .filter(({ score }) => score >= FACE_PROBABILITY)
    .toSorted((a, b) => area(b) - area(a))
    .map(({ score, landmarks }) => ({ probability: score, landmarks }));
}

// Boxes are {left, top, right, bottom, score, shift}. `shift` corrects their edges, in shares of their sides.

async function proposed(decoder, picture, least) {
  const shorter = Math.min(picture.width, picture.height);
  const scales = [];
  for (let scale = CELL / least; shorter * scale >= CELL; scale *= SHRINK) scales.push(scale);
  const found = await Promise.all(scales.map((scale) => cells(decoder, picture, scale)));
  const each = found.flatMap((boxes) => suppressed(boxes, 0.5));
  return suppressed(each, 0.7).map((box) => square(moved(box, 0)));
}

async function cells(decoder, picture, scale) {
  const [width, height] = [picture.width, picture.height].map((size) => Math.trunc(size * scale + 1));
  const data = means(picture, [0, 0, picture.width, picture.height], width, height);
  const { probabilities, box } = await decoder.run(PNET, { x: { data, shape: [1, 3, height, width] } });
  const [rows, columns] = probabilities.shape.slice(2);
  const count = rows * columns;
  const found = [];
  for (let i = 0; i < count; i++) {
    const score = probabilities.data[count + i];
    if (score < PNET.sure) continue;
    const [x, y] = [STRIDE * (i % columns), STRIDE * Math.floor(i / columns)];
    // In float32, since many of these are whole numbers, or just below.
    const pixel = (place) => Math.floor(Math.fround(place / Math.fround(scale)));
    const [left, top, right, bottom] = [x + 1, y + 1, x + CELL, y + CELL].map(pixel);
    found.push({ left, top, right, bottom, score, shift: [0, 1, 2, 3].map((side) => box.data[side * count + i]) });
  }
  return found;
}

// Returns the boxes in which the next network finds a face.
async function refined(decoder, picture, boxes, network) {
  const { side, sure } = network;
  const seen = boxes
    .map((box) => ({ box, pixels: within(box, picture) }))
    .filter(({ pixels: [l, t, r, b] }) => l < r && t < b);
  if (!seen.length) return [];
  const size = 3 * side * side;
  const data = new Float32Array(seen.length * size);
  seen.forEach(({ pixels }, i) => data.set(means(picture, pixels, side, side), i * size));
  const told = await decoder.run(network, { x: { data, shape: [seen.length, 3, side, side] } });
  const row = (output, i, count) => [...output.data.subarray(i * count, (i + 1) * count)];
  return seen
    .map(({ box }, i) => ({
      ...box,
      score: told.probabilities.data[2 * i + 1],
      shift: row(told.box, i, 4),
      points: told.landmarks && row(told.landmarks, i, 10),
    }))
    .filter(({ score }) => score > sure);
}

// Returns a box's edges in the picture, from 0. Boxes count from 1 and include their last pixel.
function within({ left, top, right, bottom }, { width, height }) {
  const first = (edge) => Math.max(1, Math.trunc(edge)) - 1;
  return [first(left), first(top), Math.min(width, Math.trunc(right)), Math.min(height, Math.trunc(bottom))];
}

// Returns a box with corrected edges. `edge` is 1 if a box's side counts its last pixel.
function moved(box, edge = 1) {
  const [wide, high] = [box.right - box.left + edge, box.bottom - box.top + edge];
  const [left, top, right, bottom] = box.shift;
  return {
    ...box,
    left: box.left + left * wide,
    top: box.top + top * high,
    right: box.right + right * wide,
    bottom: box.bottom + bottom * high,
  };
}

const landmarks = ({ left, top, right, bottom, points }) =>
  Array.from({ length: 5 }, (_, i) => [
    (right - left + 1) * points[i] + left - 1,
    (bottom - top + 1) * points[5 + i] + top - 1,
  ]);

function square(box) {
  const [wide, high] = [box.right - box.left, box.bottom - box.top];
  const side = Math.max(wide, high);
  const [left, top] = [box.left + (wide - side) / 2, box.top + (high - side) / 2];
  return { ...box, left, top, right: left + side, bottom: top + side };
}

const area = ({ left, top, right, bottom }, edge = 0) => (right - left + edge) * (bottom - top + edge);

const overlap = (a, b, edge = 0) =>
  Math.max(0, Math.min(a.right, b.right) - Math.max(a.left, b.left) + edge) *
  Math.max(0, Math.min(a.bottom, b.bottom) - Math.max(a.top, b.top) + edge);

const shareOfBoth = (a, b) => overlap(a, b) / (area(a) + area(b) - overlap(a, b));
const shareOfSmaller = (a, b) => overlap(a, b, 1) / Math.min(area(a, 1), area(b, 1));

// Returns the most probable boxes, without those that share more than `most` with a more probable one.
function suppressed(boxes, most, share = shareOfBoth) {
  const kept = [];
  for (const box of boxes.toSorted((a, b) => b.score - a.score)) {
    if (kept.every((other) => share(other, box) <= most)) kept.push(box);
  }
  return kept;
}
