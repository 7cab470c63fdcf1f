// Fetches files. Gives up on a silent server, and tries again after errors that may pass.

const SILENCE = 15_000; // Milliseconds.
const PAUSES = [1000, 3000]; // Before the second try, and the third.

class Failure extends Error {
  constructor(what, why, mayPass = false) {
    super(`${what} cannot be loaded: ${why}.`);
    this.mayPass = mayPass;
  }
}

/** Returns the promise that `kept` holds for a key, or calls `make` for it. A promise that fails is not kept. */
export function once(kept, key, make) {
  if (!kept.has(key)) {
    const made = make();
    kept.set(key, made);
    made.catch(() => kept.delete(key));
  }
  return kept.get(key);
}

/**
 * Fetches a file, or its bytes from `part.from` to `part.to`, if it has `part.size` bytes. Resolves to {bytes:
 * Uint8Array, isWhole: whether the server sent the whole file}. `what` is the subject of error sentences, `cache` the
 * option of `fetch`. Calls `progress` with the number of bytes that have arrived, and of all.
 */
export async function fetched(address, { what = "A part of the page", part, cache, progress = () => {} } = {}) {
  for (const pause of [...PAUSES, null]) {
    try {
      return await attempt(address, what, part, cache, progress);
    } catch (error) {
      if (!error.mayPass || pause === null || navigator.onLine === false) throw error;
    }
    await new Promise((resolve) => setTimeout(resolve, pause));
  }
}

const read = new Map();

/** Returns the content of a JSON file, which is fetched once. */
export const json = (address) =>
  once(read, `${address}`, async () => JSON.parse(new TextDecoder().decode((await fetched(address)).bytes)));

async function attempt(address, what, part, cache, progress) {
  const silence = new AbortController();
  let timer;
  const heard = () => {
    clearTimeout(timer);
    timer = setTimeout(() => silence.abort(), SILENCE);
  };
  let why = "the server cannot be reached";
  heard();
  try {
    const headers = part ? { Range: `bytes=${part.from}-${part.to - 1}` } : {};
    const response = await fetch(address, { headers, cache, signal: silence.signal });
    heard();
    const { ok, status } = response;
    if (!ok) throw new Failure(what, `the server answers ${status}`, status >= 500 || status === 429);
    const isWhole = status !== 206;
    why = "the connection broke off";
    const size = part && (isWhole ? part.size : part.to - part.from);
    const total = size ?? Number(response.headers.get("Content-Length"));
    let done = 0;
    const counted = new TransformStream({
      transform(chunk, controller) {
        heard();
        done += chunk.length;
        controller.enqueue(chunk);
        progress(done, Math.max(done, total));
      },
    });
    const bytes = new Uint8Array(await new Response(response.body.pipeThrough(counted)).arrayBuffer());
    if (size && done !== size) throw new Failure(what, `${size} bytes were expected, and others came`);
    return { bytes, isWhole };
  } catch (error) {
    if (error instanceof Failure) throw error;
    throw new Failure(what, silence.signal.aborted ? "the server does not answer" : why, true);
  } finally {
    clearTimeout(timer);
  }
}
