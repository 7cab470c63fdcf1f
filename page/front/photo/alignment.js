// Frames a photograph as models/alignment.py does: as the faces that the models learned from. The comments there say
// where the constants come from.

import { SIDE } from "../views.js";
import { detect } from "./detector.js";
import { middle, part, resized, sampled, turned } from "./pictures.js";

const LANDMARKS = [
  [23.24, 33.49],
  [41.15, 33.48],
  [31.97, 44.52],
  [24.34, 52.22],
  [39.95, 52.21],
];
const WEIGHTS = [1, 1, 0.1, 0.25, 0.25];
const [LEAST_SIDE, LARGEST_SIDE, LEAST_FACE] = [160, 640, 24];
const FRAME_SIZE = 4 * SIDE;
const SURROUNDINGS = 178 / 140;
const LEAST_FRAMED_FACE = 80;
const SURE_PROBABILITY = 0.99;
const SECOND_LOOKS = 3;

// A DOMMatrix turns, scales and shifts: it maps points [x, y] of one picture, in pixels from the top left corner, to
// points of another.
const moved = ({ a, b, c, d, e, f }, [x, y]) => [a * x + c * y + e, b * x + d * y + f];

// Returns the DOMMatrix that takes a face's landmarks closest to LANDMARKS, by weighted least squares.
function fit(points) {
  const total = WEIGHTS.reduce((sum, weight) => sum + weight);
  const mean = (all) => [0, 1].map((axis) => all.reduce((sum, at, i) => sum + WEIGHTS[i] * at[axis], 0) / total);
  const [centre, target] = [mean(points), mean(LANDMARKS)];
  let [a, b, squares] = [0, 0, 0];
  points.forEach(([px, py], i) => {
    const [x, y] = [px - centre[0], py - centre[1]];
    const [u, v] = [LANDMARKS[i][0] - target[0], LANDMARKS[i][1] - target[1]];
    a += WEIGHTS[i] * (x * u + y * v);
    b += WEIGHTS[i] * (x * v - y * u);
    squares += WEIGHTS[i] * (x * x + y * y);
  });
  const turn = new DOMMatrix([a, b, -b, a, 0, 0].map((value) => value / squares));
  const toTarget = new DOMMatrix().translate(...target);
  return toTarget.multiply(turn).translate(-centre[0], -centre[1]);
}

/**
 * Frames a picture's largest face. Resolves to {seen: a picture of 64 x 64, faces: how many were found, angle: by how
 * many degrees the face was turned counter-clockwise}.
 */
export async function align(decoder, picture) {
  if (picture.width === SIDE && picture.height === SIDE) return { seen: picture, faces: 0, angle: 0 };
  const found = await find(decoder, picture);
  if (!found) return { seen: middle(picture), faces: 0, angle: 0 };
  const { a, b } = found.toFrame;
  const angle = (-Math.atan2(b, a) * 180) / Math.PI;
  return { seen: framed(picture, found.toFrame), faces: found.faces, angle };
}

/** Finds a face near its place in the picture before. Resolves to the new `toFrame`, or null. */
export async function track(decoder, picture, toFrame) {
  const found = await lookAgain(decoder, picture, toFrame);
  return found && found.probability >= SURE_PROBABILITY ? found.toFrame : null;
}

export const framed = (picture, toFrame) => middle(cut(picture, toFrame));

/** Finds the largest face, however the camera was held. Resolves to {toFrame, faces, probability}, or null. */
export async function find(decoder, picture, turns = [0, 1, 3, 2]) {
  const { width, height } = picture;
  const scale = Math.min(LARGEST_SIDE / Math.max(width, height), Math.max(1, LEAST_SIDE / Math.min(width, height)));
  const copy = scaled(picture, scale);
  let best = null;
  for (const quarters of turns) {
    const view = turned(copy, quarters);
    const turn = new DOMMatrix()
      .translate(view.width / 2, view.height / 2)
      .rotate(-90 * quarters)
      .translate(-copy.width / 2, -copy.height / 2)
      .scale(scale);
    const found = await detect(decoder, view, LEAST_FACE);
    for (const [rank, { landmarks }] of found.slice(0, SECOND_LOOKS).entries()) {
      const toFrame = fit(landmarks).multiply(turn);
      const second = await lookAgain(decoder, picture, toFrame);
      if (!second) continue;
      if (!best || second.probability > best.probability) best = { ...second, faces: found.length - rank };
      break;
    }
    if (best?.probability >= SURE_PROBABILITY) break;
  }
  return best;
}

// Looks again, at the turned and framed face: its landmarks become more exact, and mistakes show.
async function lookAgain(decoder, picture, toFrame) {
  const centre = (SIDE / 2) * (1 - 1 / SURROUNDINGS);
  const toSurroundings = new DOMMatrix().translate(centre, centre).scale(1 / SURROUNDINGS);
  const frame = cut(picture, toSurroundings.multiply(toFrame));
  const inFrame = toSurroundings.inverse().scale(SIDE / FRAME_SIZE);
  const faces = (await detect(decoder, frame, LEAST_FRAMED_FACE)).map(({ probability, landmarks }) => {
    const points = landmarks.map((point) => moved(inFrame, point));
    const distance = points.reduce((sum, [x, y], i) => sum + Math.hypot(x - LANDMARKS[i][0], y - LANDMARKS[i][1]), 0);
    return { probability, points, distance };
  });
  if (!faces.length) return null;
  const { probability, points } = faces.reduce((a, b) => (b.distance < a.distance ? b : a));
  return { probability, toFrame: fit(points).multiply(toFrame) };
}

// Cuts the frame out of a picture, at 256 x 256.
function cut(picture, toFrame) {
  const fromFrame = toFrame.inverse();
  const scale = Math.min(1, (FRAME_SIZE / SIDE) * Math.hypot(toFrame.a, toFrame.b));
  // Only the part below the frame is reduced, with a margin for the filters, to about the frame's resolution.
  const corners = [[0, 0], [SIDE, 0], [0, SIDE], [SIDE, SIDE]].map((corner) => moved(fromFrame, corner)); // prettier-ignore
  const margin = Math.ceil(4 / scale);
  const [left, right] = span(corners.map(([x]) => x), margin, picture.width); // prettier-ignore
  const [top, bottom] = span(corners.map(([, y]) => y), margin, picture.height); // prettier-ignore
  const small = scaled(part(picture, left, top, right, bottom), scale);
  const toSmall = new DOMMatrix()
    .scale(small.width / (right - left), small.height / (bottom - top))
    .translate(-left, -top)
    .multiply(fromFrame)
    .scale(SIDE / FRAME_SIZE);
  return sampled(small, FRAME_SIZE, toSmall);
}

function span(values, margin, size) {
  const first = Math.min(Math.max(0, Math.floor(Math.min(...values)) - margin), size - 1);
  return [first, Math.max(first + 1, Math.min(size, Math.ceil(Math.max(...values)) + margin))];
}

const scaled = (picture, scale) =>
  resized(picture, ...[picture.width, picture.height].map((size) => Math.max(1, Math.round(size * scale))));
