// Files by HTTP on any connection: a server that says nothing is left, and what may pass is tried again.

const SILENCE = 15_000; // Milliseconds.
const PAUSES = [1000, 3000]; // Before the second try, and the third.

class Failure extends Error {
  constructor(what, why, mayPass = false) {
    super(`${what} cannot be loaded: ${why}.`);
    this.mayPass = mayPass;
  }
}

/**
 * A file's bytes, or those from `part.from` to `part.to` of a file of `part.size`: {bytes: Uint8Array, version: what
 * the server calls this state of the file, isWhole: whether it sent all where a part was asked for}.
 * `what` begins the sentence of an error; `cache` is fetch's; `progress` is called with the bytes that are there, and
 * how many there will be.
 */
export async function fetched(address, { what = "What draws the faces", part, cache, progress = () => {} } = {}) {
  for (const pause of [...PAUSES, null]) {
    try {
      return await once(address, what, part, cache, progress);
    } catch (error) {
      if (!error.mayPass || pause === null || navigator.onLine === false) throw error;
    }
    await new Promise((resolve) => setTimeout(resolve, pause));
  }
}

async function once(address, what, part, cache, progress) {
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
    const said = response.headers.get("Content-Range"); // Not every server lets a page of another read it.
    if (part && !isWhole && said && said !== `bytes ${part.from}-${part.to - 1}/${part.size}`) {
      throw new Failure(what, `the server sends another part of it, ${said.slice(0, 60)}`);
    }
    why = "the connection broke off";
    const size = part && (isWhole ? part.size : part.to - part.from);
    const bytes = await received(response, size, (...counts) => {
      heard();
      progress(...counts);
    });
    if (!bytes) throw new Failure(what, `${size} bytes were expected, and others came`);
    return { bytes, version: response.headers.get("ETag") ?? response.headers.get("Last-Modified"), isWhole };
  } catch (error) {
    if (error instanceof Failure) throw error;
    throw new Failure(what, silence.signal.aborted ? "the server does not answer" : why, true);
  } finally {
    clearTimeout(timer);
  }
}

// A response's bytes; none where `size` is told and they are more or less.
async function received(response, size, progress) {
  const total = size ?? Number(response.headers.get("Content-Length"));
  const chunks = [];
  let done = 0;
  for (const reader = response.body.getReader(); ; progress(done, Math.max(done, total))) {
    const { value } = await reader.read();
    if (!value) break;
    chunks.push(value);
    done += value.length;
    if (size && done > size) return void (await reader.cancel());
  }
  if (size && done < size) return null;
  return new Uint8Array(await new Blob(chunks).arrayBuffer());
}
