// Decodes latents for pool.js, one question at a time.

import { openDecoder } from "./decoder.js";

const decoders = new Map();
let module;

const FACES = 8;

// First {runtime}: the compiled kernel. Then {name, opening: {layers, tensors}, question}: the first message about a model
// brings its weights along. A question is {z, count}, its answer {pixels}.
onmessage = async ({ data: { runtime, name, opening, question } }) => {
  module ??= runtime;
  if (runtime) return;
  try {
    if (opening) await open(name, opening);
    if (!question) return postMessage({});
    const pixels = decoders.get(name)(question.z, question.count);
    postMessage({ pixels }, [pixels.buffer]);
  } catch (error) {
    const isMemory = error instanceof RangeError || error instanceof WebAssembly.RuntimeError;
    postMessage({ complaint: String(error?.message ?? error), isMemory });
  }
};

// Run for some faces, since browsers compile what is used into something faster.
async function open(name, { layers, tensors, latentSize }) {
  const decode = await openDecoder(module, layers, tensors);
  decode(new Float32Array(FACES * latentSize), FACES);
  decoders.set(name, decode);
}
