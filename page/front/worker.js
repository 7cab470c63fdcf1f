// Runs networks for pool.js, one question at a time.

import { openDecoder } from "./kernel/decoder.js";
import { float32 } from "./weights.js";

// A new decoder draws so many faces first, since browsers optimise code that has run.
const FACES = 8;

const networks = new Map(); // Functions from a question to an answer, by name.

// The first message about a network has its opening, and perhaps no question.
onmessage = async ({ data: { name, opening, question } }) => {
  try {
    if (opening) networks.set(name, await (opening.graph ? openGraph(opening) : openModel(opening)));
    const answer = question ? await networks.get(name)(question) : {};
    postMessage(answer, answer.pixels ? [answer.pixels.buffer] : []);
  } catch (error) {
    const complaint = String(error?.message ?? error);
    const isTrap = error instanceof RangeError || error instanceof WebAssembly.RuntimeError;
    postMessage({ complaint: isTrap || /memory|alloc/i.test(complaint) ? "it has too little memory" : complaint });
  }
};

// Returns a function from {z, count} to {pixels}. `runtime` is the compiled kernel.
async function openModel({ runtime, layers, tensors, latentSize }) {
  const decode = await openDecoder(runtime, layers, tensors);
  decode(new Float32Array(FACES * latentSize), FACES);
  return ({ z, count }) => ({ pixels: decode(z, count) });
}

let ort = null; // ONNX Runtime, once there is a graph.

// Returns a function from {inputs} to {outputs}: {data, shape} by their names.
async function openGraph({ runtime, graph, tensors }) {
  ort ??= await started(runtime);
  const externalData = [...tensors].map(([path, tensor]) => ({ path, data: new Uint8Array(float32(tensor).buffer) }));
  const session = await ort.InferenceSession.create(graph, { executionProviders: ["wasm"], externalData });
  ort.env.wasm.wasmBinary = undefined; // It runs by now; this frees a copy.
  return async ({ inputs }) => {
    const outputs = await session.run(mapped(inputs, ({ data, shape }) => new ort.Tensor("float32", data, shape)));
    return { outputs: mapped(outputs, ({ data, dims }) => ({ data, shape: [...dims] })) };
  };
}

// Starts ONNX Runtime from its two Blobs.
async function started({ script, binary }) {
  const ort = await import(URL.createObjectURL(script));
  Object.assign(ort.env.wasm, { numThreads: 1, wasmBinary: await binary.arrayBuffer() });
  return ort;
}

const mapped = (object, change) =>
  Object.fromEntries(Object.entries(object).map(([key, value]) => [key, change(value)]));
