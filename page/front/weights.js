// A model's tensors by name, out of its safetensors file: in parts where the server gives parts, and kept for the next
// visit where the browser keeps things.

// Read first: it holds the header and, in most files, the small tensors behind it.
const FIRST_BYTES = 65536;
const MOST_HEADER_BYTES = 1e6;
// Tensors that lie no further apart are read together.
const NEAR_BYTES = 65536;

const BYTES_OF = { F64: 8, F32: 4, F16: 2, BF16: 2 };

const CACHE = "latent-faces-weights";

export class Weights {
  #first = new Uint8Array();
  #whole = null;
  #header = null;

  /** `about` is a model's in page.json, {name, weights: {url, size}}; the url changes when the file does. */
  constructor({ name, weights }, base) {
    this.name = name;
    this.size = weights.size;
    this.url = new URL(weights.url, base).href;
  }

  /**
   * Map of each name to {type: "F16", shape: [100, 256], bytes: Uint8Array}.
   * `progress` is called with the bytes that are there, and how many there will be.
   */
  async tensors(names, progress = () => {}) {
    this.#header ??= this.#readHeader();
    const { start, entries } = await this.#header.catch((error) => {
      this.#header = null; // So that it can be tried again.
      throw error;
    });
    const places = names.map((name) => this.#place(name, entries, start)).sort((a, b) => a.from - b.from);
    const spans = [];
    for (const place of places) {
      const last = spans.at(-1);
      if (last && place.from <= last.to + NEAR_BYTES) last.to = Math.max(last.to, place.to);
      else spans.push({ from: place.from, to: place.to });
    }
    const total = spans.reduce((sum, { from, to }) => sum + to - from, 0);
    let before = 0;
    for (const span of spans) {
      span.bytes = await this.#read(span.from, span.to, (done) => progress(before + done, total));
      before += span.bytes.length;
      progress(before, total);
    }
    return new Map(
      places.map(({ name, type, shape, from, to }) => {
        const span = spans.find((span) => span.from <= from && to <= span.to);
        return [name, { type, shape, bytes: span.bytes.subarray(from - span.from, to - span.from) }];
      }),
    );
  }

  async #readHeader() {
    this.#first = await this.#read(0, Math.min(FIRST_BYTES, this.size));
    if (this.#first.length < 8) throw this.#damaged("it is empty");
    const length = Number(new DataView(this.#first.buffer, this.#first.byteOffset).getBigUint64(0, true));
    if (length > Math.min(MOST_HEADER_BYTES, this.size - 8)) throw this.#damaged("its header is too long");
    let entries = null;
    try {
      entries = JSON.parse(new TextDecoder().decode(await this.#read(8, 8 + length)));
    } catch (error) {
      if (!(error instanceof SyntaxError)) throw error;
    }
    if (!entries || typeof entries !== "object") throw this.#damaged("its header is no JSON object");
    return { start: 8 + length, entries };
  }

  #place(name, entries, start) {
    const { dtype: type, shape, data_offsets: offsets } = (Object.hasOwn(entries, name) && entries[name]) || {};
    if (!type) throw this.#damaged(`it has no ${name}`);
    const [from, to] = whole(offsets) && offsets.length === 2 ? offsets : [0, -1];
    const numbers = whole(shape) ? shape.reduce((product, size) => product * size, 1) : NaN;
    if (to - from !== numbers * BYTES_OF[type] || start + to > this.size) {
      throw this.#damaged(`${name} is not where its header says`);
    }
    return { name, type, shape, from: start + from, to: start + to };
  }

  async #read(from, to, progress = () => {}) {
    if (this.#whole) return this.#whole.subarray(from, to);
    if (to <= this.#first.length) return this.#first.subarray(from, to);
    const key = `${this.url}${this.url.includes("?") ? "&" : "?"}bytes=${from}-${to}`;
    const kept = await remembered(key);
    if (kept?.length === to - from) return kept;
    const response = await fetch(this.url, { headers: { Range: `bytes=${from}-${to - 1}` } }).catch(() => {
      throw this.#missing("the server cannot be reached");
    });
    if (!response.ok) throw this.#missing(`the server answers ${response.status}`);
    const isPart = response.status === 206;
    const expected = isPart ? to - from : this.size;
    const bytes = await received(response, expected, progress).catch(() => {
      throw this.#missing("the connection broke off");
    });
    if (bytes?.length !== expected) throw this.#missing(`${expected} bytes were expected, and others came`);
    if (!isPart) this.#whole = bytes;
    const part = isPart ? bytes : bytes.subarray(from, to);
    await remember(key, part);
    return part;
  }

  #missing(why) {
    return new Error(`The weights of the ${this.name} cannot be loaded: ${why}.`);
  }

  #damaged(why) {
    return new Error(`The weights of the ${this.name} are damaged: ${why}.`);
  }
}

/** A tensor's numbers as float32, whatever they are stored as. */
export function float32({ type, bytes }) {
  const { buffer } = bytes.slice(); // Aligned, which a part of a file is not.
  if (type === "F32") return new Float32Array(buffer);
  if (type === "F64") return new Float32Array(new Float64Array(buffer));
  const words = new Uint16Array(buffer);
  if (type === "BF16") return new Float32Array(Uint32Array.from(words, (word) => word << 16).buffer);
  halves ??= Float32Array.from({ length: 65536 }, (_, word) => half(word));
  const numbers = new Float32Array(words.length);
  for (let i = 0; i < words.length; i++) numbers[i] = halves[words[i]];
  return numbers;
}

let halves = null;

function half(word) {
  const exponent = (word >> 10) & 31;
  const fraction = word & 1023;
  const size = exponent === 0 ? fraction * 2 ** -24 : (1 + fraction / 1024) * 2 ** (exponent - 15);
  return (word >> 15 ? -1 : 1) * (exponent < 31 ? size : fraction ? NaN : Infinity);
}

const whole = (numbers) => Array.isArray(numbers) && numbers.every((n) => Number.isSafeInteger(n) && n >= 0);

// A response's bytes, or none where they are more than `expected`.
async function received(response, expected, progress) {
  const bytes = new Uint8Array(expected);
  let done = 0;
  for (const reader = response.body.getReader(); ; progress(done)) {
    const { value } = await reader.read();
    if (!value) return bytes.subarray(0, done);
    if (done + value.length > expected) return void (await reader.cancel());
    bytes.set(value, done);
    done += value.length;
  }
}

// There is no Cache Storage without a secure context, nor where the visitor forbids it, and it may be full.
async function remembered(key) {
  try {
    const kept = await (await caches.open(CACHE)).match(key);
    return kept && new Uint8Array(await kept.arrayBuffer());
  } catch {
    return null;
  }
}

async function remember(key, bytes) {
  try {
    const cache = await caches.open(CACHE);
    const { pathname, searchParams } = new URL(key);
    for (const request of await cache.keys()) {
      const other = new URL(request.url);
      const isOlder = other.pathname === pathname && other.searchParams.get("v") !== searchParams.get("v");
      if (isOlder) await cache.delete(request);
    }
    await cache.put(key, new Response(bytes));
  } catch {
    // It is loaded again next time.
  }
}
