// A photograph of the visitor's, from a file, the clipboard or the camera. It stays in this browser.

import { button, h } from "../dom.js";
import { textsOf } from "../png.js";
import { complaint, readRecipe, sample } from "../values.js";
import { align, find, framed, track } from "./alignment.js";
import { encode } from "./encoding.js";
import { middle, open, snapshot } from "./pictures.js";

const SIDE = 64;
// Grey levels, on average, by which a face that was enlarged and reduced again differs from what it was.
const MOST_DIFFERENCE = 4;

/** A face as the networks see it. */
export class Found {
  #latents = new Map();

  /**
   * `seen`: its pixels, RGBA of 64 x 64; `note`: a sentence on how it was found, `faces`: how many were; `drawn`:
   * {model, recipe, z} where a model of this page drew it; `steps`: of encoding at most.
   */
  constructor(page, { seen, note = "", faces = 0, drawn = null, steps = Infinity }) {
    Object.assign(this, { page, seen, note, faces, drawn, steps });
  }

  /** A model's latent of it. */
  latent(model) {
    if (this.drawn?.model === model.name) return Promise.resolve(this.drawn.z);
    if (!this.#latents.has(model.name)) {
      const latent = encode(this.page.decoder, model, this.seen, this.steps);
      latent.catch(() => this.#latents.delete(model.name)); // So that it can be tried again.
      this.#latents.set(model.name, latent);
    }
    return this.#latents.get(model.name);
  }
}

/** What the networks see of a file. */
export async function see(page, file) {
  const picture = await open(file);
  const drawn = await drawnHere(page, file, picture);
  if (drawn) {
    const note = `The ${page.models.get(drawn.model).said} drew this face: ${drawn.recipe}.`;
    return new Found(page, { seen: drawn.face, note, drawn });
  }
  const { seen, faces, angle } = await align(page.decoder, picture);
  return new Found(page, { seen: seen.data, faces, note: described(picture, faces, angle) });
}

function described({ width, height }, faces, angle) {
  if (width === SIDE && height === SIDE) return "This picture has 64 × 64 pixels and is taken as it is.";
  if (!faces) return "No face was found. This is the middle of the picture.";
  const degrees = Math.round(Math.abs(angle));
  const upright = degrees < 2 ? "" : degrees === 180 ? ", turned upside up" : `, turned upright by ${degrees}°`;
  if (faces === 1) return `A face was found${upright}.`;
  return `${faces === 2 ? "Two" : faces} faces were found. This is the ${faces === 2 ? "larger" : "largest"} one${upright}.`;
}

// The face, its model, recipe and latent, if its file says that one of this page's models drew it, and that is true.
async function drawnHere(page, file, picture) {
  const { model_key: modelKey, recipe_key: recipeKey } = page.about.constants;
  const { [modelKey]: name, [recipeKey]: recipe } = textsOf(new Uint8Array(await file.arrayBuffer()));
  const model = page.models.get(name);
  if (!model || picture.width !== picture.height) return null;
  try {
    const read = readRecipe(recipe ?? "");
    await model.ready();
    const z = sample(model, read, read.face).slice(-model.latentSize);
    const face = await page.decoder.decode(name, z);
    const { data } = middle(picture, SIDE);
    const difference = data.reduce((sum, value, i) => sum + Math.abs(value - face[i]), 0) / (3 * SIDE * SIDE);
    return difference <= MOST_DIFFERENCE ? { face, model: name, recipe, z } : null;
  } catch {
    return null; // Whatever somebody wrote there, it is a picture all the same.
  }
}

/**
 * A field for photographs: {element, clear}. `change` is called with what was found, or null where nothing was; `live`
 * with each face that the camera sees, and waited for before the next.
 */
export function photograph(page, label, change, { live = null } = {}) {
  const said = h("div", { "aria-live": "polite" });
  const input = h("input", { type: "file", accept: "image/*", hidden: true, onchange: () => take(input.files[0]) });
  let last = 0;
  let camera = null;

  // What has begun before is waited for no longer.
  function begin() {
    camera?.end();
    camera = null;
    said.replaceChildren();
    element.removeAttribute("aria-busy");
    return ++last;
  }

  async function take(file) {
    if (!file) return;
    const mine = begin();
    element.setAttribute("aria-busy", "true");
    said.replaceChildren(h("p", { class: "note" }, "Looking for the face …"));
    try {
      const found = await see(page, await file);
      if (mine !== last) return; // Another was chosen since.
      said.replaceChildren();
      change(found);
    } catch (error) {
      if (mine !== last) return;
      said.replaceChildren(complaint(error.message));
      change(null);
    } finally {
      if (mine === last) element.removeAttribute("aria-busy");
      input.value = "";
    }
  }

  async function film() {
    const mine = begin();
    try {
      const opened = await openCamera();
      if (mine !== last) return opened.end();
      camera = opened;
      const shoot = button("Take the picture", () => take(opened.picture()), { class: "primary" });
      said.replaceChildren(opened.video, h("div", { class: "actions" }, shoot, button("Stop", begin)));
      await follow(opened, () => mine === last);
    } catch (error) {
      if (mine !== last) return;
      begin();
      said.replaceChildren(complaint(error.message));
    }
  }

  // Show each face that the camera sees, until it is ended or another tab is opened.
  async function follow({ video, frame }, isOn) {
    let toFrame = null;
    while (isOn()) {
      await frame();
      if (!video.offsetParent) return isOn() && begin();
      if (!live) continue;
      const picture = snapshot(video);
      toFrame &&= await track(page.decoder, picture, toFrame);
      toFrame ??= (await find(page.decoder, picture, [0]))?.toFrame ?? null;
      if (!toFrame || !isOn()) continue;
      const { data } = framed(picture, toFrame);
      await live(new Found(page, { seen: data, note: "Live from your camera.", steps: 0 }));
    }
  }

  const example = async (url) => (await fetch(new URL(url, page.base))).blob();
  const examples = page.about.examples.map(({ url }, index) =>
    button(
      h("img", { src: new URL(url, page.base), alt: "", loading: "lazy", width: 48, height: 48 }),
      () => take(example(url)),
      { class: "example", "aria-label": `Example face ${index + 1}` },
    ),
  );
  const element = h(
    "div",
    {
      class: "photograph",
      role: "group",
      "aria-label": label,
      tabindex: 0,
      ondragover: (event) => event.preventDefault(),
      ondrop: (event) => {
        event.preventDefault();
        take(event.dataTransfer.files[0]);
      },
      onpaste: (event) => take(event.clipboardData.files[0]),
    },
    input,
    h(
      "div",
      { class: "actions" },
      button("Choose a photo", () => input.click(), { class: live && "primary" }),
      navigator.mediaDevices?.getUserMedia && button("Camera", film),
      examples,
    ),
    said,
    h("p", { class: "note" }, "Your photograph never leaves this device. You may also drop or paste one here."),
  );
  return { element, clear: begin };
}

// {video, frame: resolves at the next one, picture: a file of it, end}
async function openCamera() {
  const stream = await navigator.mediaDevices.getUserMedia({ video: { facingMode: "user" } }).catch(() => {
    throw new Error("There is no camera to be had. Allow it for this page, or choose a file.");
  });
  const video = h("video", { autoplay: true, playsinline: true, muted: true });
  video.srcObject = stream;
  return {
    video,
    frame: async () => {
      do await new Promise(requestAnimationFrame);
      while (!video.videoWidth && stream.active);
    },
    picture: () => {
      const drawn = h("canvas", { width: video.videoWidth, height: video.videoHeight });
      drawn.getContext("2d").drawImage(video, 0, 0);
      return new Promise((resolve) => drawn.toBlob(resolve, "image/png"));
    },
    end: () => stream.getTracks().forEach((track) => track.stop()),
  };
}
