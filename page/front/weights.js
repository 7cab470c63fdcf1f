// Reads tensors from a model's safetensors file. Fetches only the parts that it needs, if the server can; checks them
// against the hashes in page.json, and keeps them for the next visit.

import { fetched, once } from "./fetched.js";

// The file is read in whole blocks of this size. The first holds the header and often the small tensors.
const BLOCK = 2 ** 18;

const BYTES_OF = { F64: 8, F32: 4, F16: 2, BF16: 2 };

const CACHE = "latent-faces-weights";

export class Weights {
  #promised = new Map(); // Promises of the header and the first block.
  #whole = null; // The whole file, if the server sends no parts.
  #version = null;

  /**
   * `about` is a model's entry in page.json, {name, weights: {url, size, blocks}}. The url changes with the file;
   * `blocks` holds the SHA-256 of each block in hexadecimal digits.
   */
  constructor({ name, weights }, base) {
    this.name = name;
    this.size = weights.size;
    this.blocks = weights.blocks;
    this.url = new URL(weights.url, base).href;
  }

  /**
   * Returns a Map from each name to {type: "F16", shape: [100, 256], bytes: Uint8Array}.
   * Calls `progress` with the number of bytes that have arrived, and of all.
   */
  async tensors(names, progress = () => {}) {
    const { start, entries } = await once(this.#promised, "header", () => this.#readHeader());
    const places = names.map((name) => this.#place(name, entries, start)).sort((a, b) => a.from - b.from);
    const spans = [];
    let end = start;
    for (const { name, from, to } of places) {
      if (from < end) throw this.#damaged(`${name} overlaps another tensor`);
      end = to;
      const last = spans.at(-1);
      if (last && from <= last.to + BLOCK) last.to = to;
      else spans.push({ from, to });
    }
    const total = spans.reduce((sum, { from, to }) => sum + to - from, 0);
    let before = 0;
    for (const span of spans) {
      const { from, to } = span;
      span.bytes = await this.#read(from, to, (done) => progress(before + Math.min(done, to - from), total));
      before += to - from;
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
    const length = Number(new DataView((await this.#read(0, 8)).slice().buffer).getBigUint64(0, true));
    const header = JSON.parse(new TextDecoder().decode(await this.#read(8, 8 + length)));
    return { start: 8 + length, entries: new Map(Object.entries(header)) };
  }

  #place(name, entries, start) {
    if (!entries.has(name)) throw this.#damaged(`it has no ${name}`);
    const { dtype: type, shape, data_offsets: offsets } = entries.get(name);
    const [from, to] = offsets.map((offset) => start + offset);
    const numbers = shape.reduce((product, size) => product * size, 1);
    if (to - from !== numbers * BYTES_OF[type] || to > this.size) {
      throw this.#damaged(`${name} is not where its header says`);
    }
    return { name, type, shape, from, to };
  }

  // Returns the bytes between two places. Calls `progress` with the bytes of whole blocks that have arrived.
  async #read(from, to, progress = () => {}) {
    const end = Math.min(BLOCK, this.size);
    const head = await once(this.#promised, "first block", () => this.#checked(0, end));
    if (to <= end) return head.subarray(from, to);
    const first = Math.max(end, Math.floor(from / BLOCK) * BLOCK);
    const last = Math.min(Math.ceil(to / BLOCK) * BLOCK, this.size);
    const rest = await this.#checked(first, last, progress);
    if (from >= end) return rest.subarray(from - first, to - first);
    const bytes = new Uint8Array(to - from);
    bytes.set(head.subarray(from));
    bytes.set(rest.subarray(0, to - end), end - from);
    return bytes;
  }

  // Returns whole blocks whose hashes are right.
  async #checked(from, to, progress) {
    const key = `${this.url}${this.url.includes("?") ? "&" : "?"}bytes=${from}-${to}`;
    const kept = this.#whole ? null : await remembered(key);
    if (kept?.length === to - from && (await this.#isRight(kept, from))) return kept;
    // The browser's own cache may hold damaged ones, too.
    for (const cache of ["default", "reload"]) {
      const bytes = await this.#fetch({ from, to, size: this.size }, cache, progress);
      if (!(await this.#isRight(bytes, from))) continue;
      await remember(key, bytes);
      return bytes;
    }
    throw this.#changed();
  }

  async #fetch(part, cache, progress) {
    if (this.#whole && cache === "default") return this.#whole.subarray(part.from, part.to);
    const what = `The weights of the ${this.name}`;
    const { bytes, version, isWhole } = await fetched(this.url, { what, part, cache, progress });
    // Browsers compute hashes only in secure contexts; elsewhere the version tells of a change.
    if (!isWhole && (this.#version ??= version) !== version) throw this.#changed();
    if (isWhole) this.#whole = bytes;
    return isWhole ? bytes.subarray(part.from, part.to) : bytes;
  }

  async #isRight(bytes, from) {
    if (!globalThis.crypto?.subtle) return true;
    for (let at = 0; at < bytes.length; at += BLOCK) {
      const hash = await crypto.subtle.digest("SHA-256", bytes.subarray(at, at + BLOCK));
      const digits = Array.from(new Uint8Array(hash), (byte) => byte.toString(16).padStart(2, "0")).join("");
      if (digits !== this.blocks[(from + at) / BLOCK]) return false;
    }
    return true;
  }

  #damaged(why) {
    return new Error(`The weights of the ${this.name} are damaged: ${why}.`);
  }

  #changed() {
    this.#promised.clear();
    this.#whole = this.#version = null;
    const sentence = "came damaged, or have changed since this page was opened. Load the page again.";
    return new Error(`The weights of the ${this.name} ${sentence}`);
  }
}

/** Returns a tensor's numbers as a Float32Array. */
export function float32({ type, bytes }) {
  const { buffer } = bytes.slice(); // A copy is aligned in memory.
  if (type === "F32") return new Float32Array(buffer);
  if (type === "F64") return new Float32Array(new Float64Array(buffer));
  const words = new Uint16Array(buffer);
  if (type === "BF16") return new Float32Array(Uint32Array.from(words, (word) => word << 16).buffer);
  halves ??= Float32Array.from({ length: 65536 }, (_, word) => half(word));
  const numbers = new Float32Array(words.length);
  for (let i = 0; i < words.length; i++) numbers[i] = halves[words[i]];
  return numbers;
}

// Browsers before 2025 have no Float16Array.
let halves = null;

function half(word) {
  const exponent = (word >> 10) & 31;
  const fraction = word & 1023;
  const size = exponent === 0 ? fraction * 2 ** -24 : (1 + fraction / 1024) * 2 ** (exponent - 15);
  return (word >> 15 ? -1 : 1) * (exponent < 31 ? size : fraction ? NaN : Infinity);
}

// Cache Storage may be full, forbidden, or missing in an insecure context.
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
