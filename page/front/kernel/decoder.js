// Decodes latents with kernel.c: arranges a model's weights as it reads them, and calls it layer by layer.

import { float32 } from "../weights.js";

const FACE_BYTES = 4 * 64 * 64;

// So many latents go through the fully connected layers together, and so many faces through the others.
export const MOST = 16;
const TOGETHER = 4;

const tilesOf = (channels) => 16 * channels + 16; // As in kernel.c.

// Pictures from this side on are computed in tiles of 4 x 4, which need fewer products than 2 x 2 but more weights.
const LARGE = 8;

const toEight = (count) => Math.ceil(count / 8) * 8;
const product = (sizes) => sizes.reduce((product, size) => product * size, 1);

/**
 * Resolves to a function from latents (count * latentSize) and their count, at most `MOST`, to faces RGBA.
 * `layers` are those of decoders.json; `tensors` is a Map from each name to {type, shape, bytes}.
 */
export async function openDecoder(module, layers, tensors) {
  const { exports: kernel } = await WebAssembly.instantiate(module, {});
  const floats = (at, count) => new Float32Array(kernel.memory.buffer, at, count);
  const put = (numbers) => {
    const at = kernel.room(numbers.length);
    floats(at, numbers.length).set(numbers);
    return at;
  };
  const read = (name) => {
    const numbers = float32(tensors.get(name));
    if (!numbers.every(Number.isFinite)) throw new Error(`${name} holds what is no number`);
    return numbers;
  };
  const shapeOf = ({ name }) => tensors.get(`${name}.weight`).shape;

  // Returns a layer's factors and summands, channel by channel: of its batch normalisation, or its bias alone.
  const affine = ({ name, norm, epsilon }, channels) => {
    if (!norm) return { scale: new Float32Array(channels).fill(1), bias: read(`${name}.bias`) };
    const [gain, shift, mean, variance] = ["weight", "bias", "running_mean", "running_var"].map((of) =>
      read(`${norm}.${of}`),
    );
    const scale = gain.map((value, i) => value / Math.sqrt(variance[i] + epsilon));
    return { scale, bias: shift.map((value, i) => value - mean[i] * scale[i]) };
  };

  // Room for one layer's weights as they are stored, used again by each layer.
  const stored = kernel.room(Math.max(...layers.map((layer) => product(shapeOf(layer)))));
  const store = ({ name }) => {
    const numbers = read(`${name}.weight`);
    floats(stored, numbers.length).set(numbers);
  };

  const split = layers.findIndex(({ kind }) => kind === "up");
  const [latentSize] = shapeOf(layers[0]).slice(layers[0].kind === "spread" ? 0 : 1);
  const latents = kernel.room(MOST * latentSize);
  let places; // Pixels of the picture that the last fully connected layer makes.
  let k = latentSize;
  const dense = layers.slice(0, split).map((layer, index) => {
    const sizes = shapeOf(layer);
    const isSpread = layer.kind === "spread"; // Its weights are (inputs, channels, rows, columns).
    const isPicture = index === split - 1;
    const inputs = sizes[isSpread ? 0 : 1];
    const channels = isSpread ? sizes[1] : isPicture ? shapeOf(layers[split])[0] : sizes[0];
    const outputs = isSpread ? product(sizes.slice(1)) : sizes[0];
    places = outputs / channels;
    const n = toEight(outputs);
    const { scale, bias } = affine(layer, channels);
    const by = isSpread ? [outputs, places, 1] : [1, places * inputs, inputs];
    const weights = kernel.room(k * n);
    store(layer);
    kernel.pack(stored, inputs, k, outputs, n, channels, ...by, put(scale), weights);
    // A linear layer has a bias for each output, channel by channel.
    const biasOf = (j) => bias[isSpread ? j % channels : (j % channels) * places + Math.floor(j / channels)];
    const biases = put(Float32Array.from({ length: n }, (_, j) => (j < outputs ? biasOf(j) : 0)));
    const made = { k, n, weights, biases, output: kernel.room(MOST * n), isRelu: layer.kind !== "linear" };
    k = n;
    return made;
  });

  let side = Math.sqrt(places);
  const last = layers.at(-1);
  const ups = layers.slice(split, -1).map((layer) => {
    const [inputs, outputs] = shapeOf(layer);
    if (inputs % 8 || outputs % 8) throw new Error(`${layer.name} is of ${inputs} x ${outputs}, no multiples of 8`);
    const { scale, bias } = affine(layer, outputs);
    const size = side < LARGE ? 2 : 4;
    const weights = kernel.room(4 * (size + 1) ** 2 * inputs * outputs);
    store(layer);
    kernel.fold_up(stored, size, inputs, outputs, put(scale), weights);
    const picture = kernel.room(TOGETHER * (side + 2) ** 2 * inputs);
    const made = { size, side, inputs, outputs, weights, biases: put(bias), picture };
    side *= 2;
    return made;
  });
  const isUp = last.kind === "last_up";
  const inputs = ups.at(-1).outputs;
  const taps = isUp ? 16 : 9;
  const n = toEight(3 * taps);
  const lastWeights = kernel.room(inputs * n);
  store(last);
  const by = isUp ? [48, 16, 1] : [9, 9 * inputs, 1];
  kernel.pack(stored, inputs, inputs, 3 * taps, n, 3, ...by, put([1, 1, 1]), lastWeights);
  const lastBiases = put([...read(`${last.name}.bias`), 0]);
  const products = kernel.room((side + 2) ** 2 * n + 1);
  const area = (side + 2) ** 2 * inputs;
  const lastPicture = kernel.room(TOGETHER * area);
  const most = (count) => Math.max(...ups.map(count));
  const v = kernel.room(most(({ size, inputs }) => (size + 2) ** 2 * tilesOf(inputs)));
  const m = kernel.room(most(({ size, outputs }) => (size + 1) ** 2 * tilesOf(outputs)));
  const faces = kernel.room(MOST * 64 * 64);

  return (z, count) => {
    floats(latents, MOST * latentSize)
      .fill(0)
      .set(z);
    const rows = Math.ceil(count / 2) * 2;
    let x = latents;
    for (const { k, n, weights, biases, output, isRelu } of dense) {
      kernel.dense(x, rows, k, weights, biases, n, output, Number(isRelu));
      x = output;
    }
    for (let from = 0; from < count; from += TOGETHER) {
      const together = Math.min(TOGETHER, count - from);
      border(from, together);
      ups.forEach(({ size, side, inputs, outputs, weights, biases, picture }, i) => {
        const y = ups[i + 1]?.picture ?? lastPicture;
        kernel.up(picture, size, together, side, inputs, outputs, weights, biases, y, v, m);
      });
      for (let i = 0; i < together; i++) {
        const to = faces + (from + i) * FACE_BYTES;
        kernel.last(lastPicture + 4 * i * area, side, inputs, lastWeights, lastBiases, n, products, to);
      }
    }
    return new Uint8ClampedArray(kernel.memory.buffer, faces, count * FACE_BYTES).slice();
  };

  // Copies the last fully connected layer's output into pictures with borders.
  function border(from, count) {
    const { side, inputs, picture } = ups[0];
    const { output, n } = dense.at(-1);
    const numbers = new Float32Array(kernel.memory.buffer);
    for (let i = 0; i < count; i++) {
      for (let y = 0; y < side; y++) {
        const source = output / 4 + (from + i) * n + y * side * inputs;
        const to = picture / 4 + ((i * (side + 2) + y + 1) * (side + 2) + 1) * inputs;
        numbers.copyWithin(to, source, source + side * inputs);
      }
    }
  }
}
