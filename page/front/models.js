// A model's entry in page.json, and its latents: from the same seed the same as in models/base.py and its subclasses.

import { doubles, normals, uniforms } from "./draws.js";
import { once } from "./fetched.js";
import { Weights, float32 } from "./weights.js";

const round = Math.fround;

// The tensors that the latents of a kind of model depend on.
const TENSORS = {
  "attribute-generator": ["attribute_bias", "attribute_weight"],
  "perceptual-autoencoder": ["mixture_logits", "mixture_means", "mixture_roots", "directions"],
};

/** Latents are Float32Arrays (count * latentSize). */
export class Model {
  #tensors = null;
  #promised = new Map();

  /** `about` is a model's entry in page.json, `base` the address of the page's root. */
  constructor(about, base) {
    const { name, said, kind, attributes, best, encodes } = about;
    Object.assign(this, { about, name, said, kind, attributes, best, encodes });
    this.latentSize = about.latent_size;
    this.discreteSize = about.discrete_size;
    this.continuousSize = about.latent_size - about.discrete_size;
    this.priorMean = about.prior_mean;
    this.priorVariance = about.prior_variance;
    this.weights = new Weights(about, base);
  }

  /** Loads what `sample` and `withAttributes` need. */
  ready() {
    return once(this.#promised, "tensors", async () => {
      const names = TENSORS[this.kind] ?? [];
      const loaded = names.length ? await this.weights.tensors(names) : [];
      this.#tensors = Object.fromEntries([...loaded].map(([name, tensor]) => [name, float32(tensor)]));
    });
  }

  /** Returns `count` latents of a seed. Another mean moves the same faces; bits stay as they are. */
  sample(seed, count, { mean = this.priorMean, variance = this.priorVariance } = {}) {
    const noise = normals(seed, count * this.continuousSize);
    if (this.kind === "perceptual-autoencoder") return this.#mixture(seed, count, noise, mean, variance);
    const z = new Float32Array(count * this.latentSize);
    const spread = round(Math.sqrt(variance));
    const bits = this.#bits(seed, count);
    for (let face = 0; face < count; face++) {
      const row = this.#row(z, face);
      for (let i = 0; i < this.continuousSize; i++) {
        row[i] = round(noise[face * this.continuousSize + i] * spread) + round(mean);
      }
      row.set(bits.subarray(face * this.discreteSize, (face + 1) * this.discreteSize), this.continuousSize);
    }
    return z;
  }

  // Draws fair bits, or a chain of attributes in which each depends on those before it.
  #bits(seed, count) {
    const uniform = uniforms(seed, count * this.discreteSize);
    const bits = uniform.map((u) => (u < 0.5 ? -1 : 1));
    if (this.kind !== "attribute-generator") return bits;
    const { attribute_bias: bias, attribute_weight: weight } = this.#tensors;
    for (let at = 0; at < bits.length; at += this.discreteSize) {
      for (let i = 0; i < bias.length; i++) {
        let logit = bias[i];
        for (let j = 0; j < i; j++) logit += bits[at + j] * weight[i * bias.length + j];
        bits[at + i] = uniform[at + i] >= 0.5 * (1 - Math.tanh(logit / 2)) ? 1 : -1;
      }
    }
    return bits;
  }

  #mixture(seed, count, noise, mean, variance) {
    const { mixture_logits: logits, mixture_means: means, mixture_roots: roots } = this.#tensors;
    const size = this.latentSize;
    const most = Math.max(...logits);
    const shares = Array.from(logits, (logit) => Math.exp(logit - most));
    const total = shares.reduce((sum, share) => sum + share);
    const stretch = round(Math.sqrt(variance / this.priorVariance));
    const z = new Float32Array(count * size);
    doubles(seed, count).forEach((u, face) => {
      let component = 0;
      for (let sum = shares[0] / total; component < shares.length - 1 && sum <= u;) sum += shares[++component] / total;
      const row = this.#row(z, face);
      for (let i = 0; i < size; i++) {
        let sum = 0;
        for (let j = 0; j <= i; j++) sum += roots[(component * size + i) * size + j] * noise[face * size + j];
        const drawn = round(means[component * size + i] + round(sum));
        row[i] = round(round(drawn - round(this.priorMean)) * stretch) + round(mean);
      }
    });
    return z;
  }

  /** Returns latents with other attributes, {Smiling: 1}: sets bits, or moves along directions. */
  withAttributes(z, values) {
    const changed = z.slice();
    for (const [name, value] of Object.entries(values)) {
      const index = this.attributes.indexOf(name);
      const direction = this.discreteSize ? null : this.#row(this.#tensors.directions, index);
      for (const row of this.#rows(changed)) {
        if (!direction) row[this.continuousSize + index] = value;
        else row.forEach((number, i) => (row[i] = number + round(round(value) * direction[i])));
      }
    }
    return changed;
  }

  /** Returns latents with held bits. `bits` has "+", "-" or "." (as it is drawn) for each. */
  holdBits(z, bits) {
    const held = z.slice();
    for (const row of this.#rows(held)) {
      [...bits].forEach((bit, i) => {
        if (bit !== ".") row[this.continuousSize + i] = bit === "+" ? 1 : -1;
      });
    }
    return held;
  }

  /**
   * Returns `steps` latents from one to another, both included. `way` is "straight", or "spherical" around the prior's
   * mean. `discrete` says what bits do: "relaxed" (all values between), "switched" in the middle, or "held".
   */
  interpolate(start, end, steps, way = "straight", discrete = "relaxed") {
    const path = new Float32Array(steps * this.latentSize);
    const size = this.continuousSize;
    const centre = way === "spherical" ? round(this.priorMean) : 0;
    const from = start.subarray(0, size).map((x) => x - centre);
    const to = end.subarray(0, size).map((x) => x - centre);
    const turn = way === "spherical" ? turning(from, to) : (share) => [round(1 - share), share];
    this.#rows(path).forEach((row, step) => {
      const share = evenly(step, steps);
      const [first, second] = turn(share);
      for (let i = 0; i < size; i++) row[i] = round(round(from[i] * first) + round(to[i] * second)) + centre;
      for (let i = size; i < row.length; i++) {
        const relaxed = round(start[i] * round(1 - share)) + round(end[i] * share);
        row[i] = { relaxed, switched: 2 * step >= steps - 1 ? end[i] : start[i], held: start[i] }[discrete];
      }
    });
    return path;
  }

  #row(z, face) {
    return z.subarray(face * this.latentSize, (face + 1) * this.latentSize);
  }

  #rows(z) {
    return Array.from({ length: z.length / this.latentSize }, (_, face) => this.#row(z, face));
  }
}

// Returns a number of torch.linspace(0, 1, steps), which counts from either end to the middle.
function evenly(step, steps) {
  const width = round(1 / (steps - 1));
  return step < Math.floor(steps / 2) ? round(width * step) : round(1 - round(width * (steps - 1 - step)));
}

// Returns a function from a share of the great circle around 0 to the weights of both ends (White 2016); of a straight
// line where there is no such circle.
function turning(from, to) {
  const dot = (a, b) => a.reduce((sum, x, i) => sum + x * b[i], 0);
  const length = Math.sqrt(dot(from, from) * dot(to, to));
  const cosine = length ? dot(from, to) / length : 1;
  if (Math.abs(cosine) > 1 - 1e-5) return (share) => [round(1 - share), share];
  const angle = Math.acos(cosine);
  return (share) => [1 - share, share].map((part) => round(Math.sin(part * angle) / Math.sin(angle)));
}
