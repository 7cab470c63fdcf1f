// The main directions of a model's latents, as in FaceModel.main_directions of models/base.py.

import { json } from "./fetched.js";
import { float32 } from "./weights.js";

/** Returns the directions that change the decoder's first layer most, strongest first: Float32Arrays (latentSize). */
export async function mainDirections(model, count) {
  const layers = (await json(new URL("kernel/decoders.json", import.meta.url)))[model.about.architecture];
  // The linear layers and the first layer of another kind, which begins with a linear map.
  const first = layers
    .slice(0, layers.findIndex(({ kind }) => kind !== "linear") + 1)
    .map(({ name }) => `${name}.weight`);
  const tensors = await model.weights.tensors(first);
  let products = null; // The dot product of each pair of columns of the weights.
  for (const [index, name] of [...first.entries()].reverse()) {
    const columns = columnsOf(float32(tensors.get(name)), tensors.get(name).shape, layers[index].kind);
    products = products ? between(columns, products) : columns.map((a) => Float64Array.from(columns, (b) => dot(a, b)));
  }
  const size = model.continuousSize;
  const found = eigenvectors(products.slice(0, size).map((row) => row.slice(0, size)));
  const deviation = Math.sqrt(model.priorVariance);
  return found.slice(0, count).map((vector) => {
    const largest = vector.reduce((a, b) => (Math.abs(b) > Math.abs(a) ? b : a));
    const direction = new Float32Array(model.latentSize);
    vector.forEach((value, i) => (direction[i] = value * Math.sign(largest) * deviation));
    return direction;
  });
}

const dot = (a, b) => {
  let sum = 0;
  for (let i = 0; i < a.length; i++) sum += a[i] * b[i];
  return sum;
};

// Returns the columns of a layer's weights: what each number of its input adds to its outputs.
function columnsOf(weight, shape, kind) {
  const inputs = shape[kind === "spread" ? 0 : 1];
  const outputs = weight.length / inputs;
  if (kind === "spread")
    return Array.from({ length: inputs }, (_, i) => weight.subarray(i * outputs, (i + 1) * outputs));
  return Array.from({ length: inputs }, (_, i) =>
    Float64Array.from({ length: outputs }, (_, o) => weight[o * inputs + i]),
  );
}

// Returns columns^T products columns.
function between(columns, products) {
  const right = columns.map((column) => products.map((row) => dot(row, column)));
  return columns.map((column) => Float64Array.from(right, (other) => dot(column, other)));
}

// Returns the eigenvectors of a symmetric matrix, largest eigenvalue first, by Jacobi's rotations.
function eigenvectors(matrix) {
  const a = matrix.map((row) => row.slice());
  const vectors = a.map((_, i) => Float64Array.from(a, (_, j) => Number(i === j)));
  const turn = (x, y, cosine, sine) => {
    for (let k = 0; k < a.length; k++) [x[k], y[k]] = [cosine * x[k] - sine * y[k], sine * x[k] + cosine * y[k]];
  };
  const size = Math.sqrt(a.reduce((sum, row) => sum + dot(row, row), 0));
  for (let rest = size; rest > 1e-12 * size;) {
    rest = 0;
    for (let p = 0; p < a.length; p++) {
      for (let q = p + 1; q < a.length; q++) {
        rest = Math.max(rest, Math.abs(a[p][q]));
        const angle = Math.atan2(2 * a[p][q], a[q][q] - a[p][p]) / 2;
        const [cosine, sine] = [Math.cos(angle), Math.sin(angle)];
        turn(a[p], a[q], cosine, sine);
        for (const row of a) [row[p], row[q]] = [cosine * row[p] - sine * row[q], sine * row[p] + cosine * row[q]];
        turn(vectors[p], vectors[q], cosine, sine);
      }
    }
  }
  const order = a.map((row, i) => [row[i], i]).sort((x, y) => y[0] - x[0]);
  return order.map(([, i]) => vectors[i]);
}
