// Runs graphs for pool.js, one question at a time, with ONNX Runtime in one thread.

import * as ort from "./vendor/ort.wasm.bundle.min.js";
import { float32 } from "./weights.js";

ort.env.wasm.numThreads = 1;

// Of a face.
const AREA = 64 * 64;

const sessions = new Map();

// First {runtime}: the bytes of its WebAssembly. Then {name, opening: {graph, tensors}, question}: the first message about
// a graph brings what opens it along. A question is {inputs}, each of {data, shape}; its answer is {outputs}, or {pixels,
// isFinite} where the question `asPixels`.
onmessage = async ({ data: { runtime, name, opening, question } }) => {
  if (runtime) {
    ort.env.wasm.wasmBinary = runtime;
    return;
  }
  try {
    if (opening) sessions.set(name, await open(opening));
    if (!question) return postMessage({});
    const inputs = mapped(question.inputs, ({ data, shape }) => new ort.Tensor("float32", data, shape));
    const outputs = await sessions.get(name).run(inputs);
    if (question.asPixels) {
      const answer = pixelsOf(outputs.x.data, outputs.x.dims[0]);
      postMessage(answer, [answer.pixels.buffer]);
    } else postMessage({ outputs: mapped(outputs, ({ data, dims }) => ({ data, shape: [...dims] })) });
  } catch (error) {
    const complaint = String(error?.message ?? error);
    postMessage({ complaint, isMemory: error instanceof RangeError || /memory|alloc/i.test(complaint) });
  }
};

async function open({ graph, tensors }) {
  const externalData = [...tensors].map(([path, tensor]) => ({ path, data: new Uint8Array(float32(tensor).buffer) }));
  const session = await ort.InferenceSession.create(graph, { executionProviders: ["wasm"], externalData });
  ort.env.wasm.wasmBinary = undefined; // It runs by now, and its code need not be held twice.
  return session;
}

const mapped = (object, change) =>
  Object.fromEntries(Object.entries(object).map(([key, value]) => [key, change(value)]));

// (count, 3, 64, 64) in [-1, 1] to RGBA, rounded to even as models/images.py does: so does the array itself.
function pixelsOf(x, count) {
  const pixels = new Uint8ClampedArray(count * 4 * AREA).fill(255);
  let sum = 0;
  for (let plane = 0; plane < count * 3; plane++) {
    const to = 4 * AREA * Math.floor(plane / 3) + (plane % 3);
    for (let i = 0; i < AREA; i++) {
      const value = x[plane * AREA + i];
      pixels[to + 4 * i] = Math.fround(Math.fround(value + 1) * 127.5);
      sum += value;
    }
  }
  return { pixels, isFinite: Number.isFinite(sum) };
}
