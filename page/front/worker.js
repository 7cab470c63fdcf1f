// Runs graphs for pool.js, one question at a time, with ONNX Runtime in one thread.

import * as ort from "./vendor/ort.wasm.bundle.min.js";
import { float32 } from "./weights.js";

ort.env.wasm.numThreads = 1;

const sessions = new Map();

// First {runtime}: the bytes of its WebAssembly. Then {name, opening: {graph, tensors}, question}: the first message about
// a graph brings what opens it along. A question is {inputs}, its answer {outputs}: each by its name, {data, shape}.
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
    postMessage({ outputs: mapped(outputs, ({ data, dims }) => ({ data, shape: [...dims] })) });
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
