// NumPy's `default_rng([seed, stream])`: the same numbers from the same seed, as models/latents.py draws them.

/** `count` numbers of `standard_normal(count, dtype=float32)`, from the stream of normal numbers. */
export const normals = (seed, count) => drawn(Float32Array, count, new Pcg64(seed, 0), "normal");

/** `count` numbers of `random(count, dtype=float32)`, from the stream of bits. */
export const uniforms = (seed, count) => drawn(Float32Array, count, new Pcg64(seed, 2), "uniform");

/** `count` numbers of `random(count)`, from the stream of indices. */
export const doubles = (seed, count) => drawn(Float64Array, count, new Pcg64(seed, 3), "double");

const drawn = (Kind, count, random, method) => Kind.from({ length: count }, () => random[method]());

// A linear congruential generator of 128 bits, its output XSL-RR (O'Neill 2014).
const MULTIPLIER = 0x2360ed051fc65da44385df649fccf645n;

class Pcg64 {
  constructor(seed, stream) {
    const [a, b, c, d, e, f, g, h] = seedSequence([seed, stream], 8).map(BigInt);
    const whole = (...words) => words.reduce((sum, word) => (sum << 32n) | word);
    this.increment = BigInt.asUintN(128, (whole(f, e, h, g) << 1n) | 1n);
    this.state = BigInt.asUintN(128, this.increment + whole(b, a, d, c));
    this.step();
    this.kept = null;
  }

  step() {
    this.state = BigInt.asUintN(128, this.state * MULTIPLIER + this.increment);
  }

  uint64() {
    this.step();
    const high = this.state >> 64n;
    const mixed = high ^ BigInt.asUintN(64, this.state);
    const turn = high >> 58n;
    return BigInt.asUintN(64, (mixed >> turn) | (mixed << (64n - turn)));
  }

  // Half of 64 bits, first the lower; the upper is kept for the next.
  uint32() {
    let word = this.kept;
    if (word !== null) {
      this.kept = null;
      return word;
    }
    const both = this.uint64();
    this.kept = Number(both >> 32n);
    return Number(both & 0xffffffffn);
  }

  uniform() {
    return (this.uint32() >>> 8) / 2 ** 24;
  }

  double() {
    return Number(this.uint64() >> 11n) / 2 ** 53;
  }

  // The ziggurat of 256 layers (Marsaglia & Tsang 2000), in float32 where NumPy is.
  normal() {
    for (;;) {
      const word = this.uint32();
      const layer = word & 255;
      const size = word >>> 9;
      const x = round(size * SCALES[layer]) * (word & 256 ? -1 : 1);
      if (size < INSIDE[layer]) return x;
      if (layer === 0) return this.tail() * (size & 256 ? -1 : 1);
      const height = round(round(round(HEIGHTS[layer - 1] - HEIGHTS[layer]) * this.uniform()) + HEIGHTS[layer]);
      if (height < Math.exp(-0.5 * x * x)) return x;
    }
  }

  // Beyond the lowest layer's edge (Marsaglia 1964).
  tail() {
    for (;;) {
      const beyond = round(-round(1 / EDGE) * round(Math.log1p(-this.uniform())));
      const height = -round(Math.log1p(-this.uniform()));
      if (round(height + height) > round(beyond * beyond)) return round(round(EDGE) + beyond);
    }
  }
}

// Words of 32 bits to `count` others (O'Neill 2015, as NumPy's SeedSequence).
function seedSequence(entropy, count) {
  let constant = 0x43b0d7e5;
  const scramble = (word, multiplier) => {
    word ^= constant;
    constant = Math.imul(constant, multiplier);
    word = Math.imul(word, constant);
    return (word ^ (word >>> 16)) >>> 0;
  };
  const mix = (x, y) => {
    const mixed = (Math.imul(0xca01f9dd, x) - Math.imul(0x4973f715, y)) | 0;
    return (mixed ^ (mixed >>> 16)) >>> 0;
  };
  const pool = [0, 1, 2, 3].map((i) => scramble(entropy[i] ?? 0, 0x931e8875));
  for (let from = 0; from < 4; from++) {
    for (let to = 0; to < 4; to++) if (from !== to) pool[to] = mix(pool[to], scramble(pool[from], 0x931e8875));
  }
  constant = 0x8b51f9dd;
  return Array.from({ length: count }, (_, i) => scramble(pool[i % 4], 0x58f38ded));
}

// The ziggurat's layers: where each ends, from the top down, and the density there. All have one AREA.
const round = Math.fround;
const EDGE = 3.6541528853610088;
const AREA = 0.004928673233974655;
const density = (x) => Math.exp((-x * x) / 2);
const ends = new Float64Array(256);
ends[255] = EDGE;
for (let i = 254; i > 0; i--) ends[i] = Math.sqrt(-2 * Math.log(AREA / ends[i + 1] + density(ends[i + 1])));

const HEIGHTS = Float32Array.from(ends, density);
const SCALES = Float32Array.from(ends, (end, i) => (i ? end : AREA / density(EDGE)) / 2 ** 23);
// Below this a number of 23 bits lies under the curve whatever its height.
const INSIDE = Uint32Array.from(ends, (end, i) =>
  i === 1 ? 0 : Math.round(2 ** 23 * (i ? ends[i - 1] / end : (EDGE * density(EDGE)) / AREA)),
);
