// Photographs from files, the clipboard and the camera. They stay in this browser.

import { button, h } from "../dom.js";
import { fetched, once } from "../fetched.js";
import { textsOf } from "../png.js";
import { complaint, latentOf, readRecipe } from "../values.js";
import { SIDE, difference } from "../views.js";
import { align, find, framed, track } from "./alignment.js";
import { encode } from "./encoding.js";
import { middle, open, snapshot } from "./pictures.js";

// A face that was enlarged and reduced again differs from the original by at most so many grey levels on average.
const MOST_DIFFERENCE = 4;

/** A face as the networks see it. */
export class Found {
  #latents = new Map();

  /**
   * `seen` is its pixels, RGBA of 64 x 64; `note` a sentence on how it was found; `drawn` {model, recipe} if a model of
   * this page drew it; `steps` the most steps of encoding.
   */
  constructor(page, { seen, note, drawn = null, steps = Infinity }) {
    Object.assign(this, { page, seen, note, drawn, steps });
  }

  /** Returns a model's latent of the face. */
  async latent(model) {
    if (this.drawn?.model === model.name) return latentOf(model, readRecipe(this.drawn.recipe));
    return once(this.#latents, model.name, () => encode(this.page.decoder, model, this.seen, this.steps));
  }
}

/** Finds the face in a file, and returns it as a Found. */
export async function see(page, file) {
  const picture = await open(file);
  const drawn = await drawnHere(page, file, picture);
  if (drawn) {
    const note = `The ${page.models.get(drawn.model).said} drew this face: ${drawn.recipe}.`;
    return new Found(page, { seen: drawn.face, note, drawn });
  }
  const { seen, faces, angle } = await align(page.decoder, picture);
  return new Found(page, { seen: seen.data, note: described(picture, faces, angle) });
}

function described({ width, height }, faces, angle) {
  if (width === SIDE && height === SIDE) return "This picture has 64 × 64 pixels and is taken as it is.";
  if (!faces) return "No face was found. This is the middle of the picture.";
  const degrees = Math.round(Math.abs(angle));
  const upright = degrees < 2 ? "" : degrees === 180 ? ", turned the right way up" : `, turned upright by ${degrees}°`;
  if (faces === 1) return `A face was found${upright}.`;
  if (faces === 2) return `Two faces were found. This is the larger one${upright}.`;
  return `${faces} faces were found. This is the largest one${upright}.`;
}

// Returns {face, model, recipe} if the file says that a model of this page drew it, and that is true, or null.
async function drawnHere(page, file, picture) {
  const texts = textsOf(new Uint8Array(await file.arrayBuffer()));
  const [name, recipe] = ["model_key", "recipe_key"].map((key) => texts.get(page.about.constants[key]));
  const model = page.models.get(name);
  if (!model || picture.width !== picture.height) return null;
  try {
    const face = await page.decoder.decode(model, await latentOf(model, readRecipe(recipe ?? "")));
    const { mean } = difference(middle(picture).data, face, 1);
    return mean <= MOST_DIFFERENCE ? { face, model: name, recipe } : null;
  } catch {
    return null; // With a wrong recipe it is a picture like any other.
  }
}

/**
 * Returns a field for photographs, {element, clear}. Calls `change` with a Found, or null if the file is refused. Calls
 * `live` with each face that the camera sees, and waits for it before the next.
 */
export function photograph(page, label, change, { live = null } = {}) {
  const said = h("div", { "aria-live": "polite" });
  const input = h("input", { type: "file", accept: "image/*", hidden: true, onchange: () => take(input.files[0]) });
  let last = 0;
  let camera = null;

  // Ends what has begun before, and shows something. Returns a function that returns whether what begins now is wanted.
  function begin(...shown) {
    camera?.end();
    camera = null;
    said.replaceChildren(...shown);
    element.removeAttribute("aria-busy");
    const mine = ++last;
    return () => mine === last;
  }

  async function take(file) {
    if (!file) return;
    input.value = "";
    const isWanted = begin(h("p.note", "Looking for the face …"));
    element.setAttribute("aria-busy", "true");
    try {
      const found = await see(page, await file);
      if (!isWanted()) return;
      begin();
      change(found);
    } catch (error) {
      if (!isWanted()) return;
      begin(complaint(error.message));
      change(null);
    }
  }

  async function film() {
    const isWanted = begin();
    try {
      const opened = await openCamera();
      if (!isWanted()) return opened.end();
      camera = opened;
      const shoot = button("Take the picture", () => take(opened.picture()), { class: "primary", disabled: true });
      said.replaceChildren(opened.video, h("div.actions", [shoot, button("Stop", () => begin())]));
      await opened.frame();
      shoot.disabled = false;
      await follow(opened, isWanted);
    } catch (error) {
      if (isWanted()) begin(complaint(error.message));
    }
  }

  // Shows each face that the camera sees, until it ends or another tab is opened.
  async function follow({ video, frame }, isWanted) {
    let toFrame = null;
    while (isWanted()) {
      await frame();
      if (!video.offsetParent || !video.srcObject.active) return isWanted() && begin();
      if (!live) continue;
      const picture = snapshot(video);
      toFrame &&= await track(page.decoder, picture, toFrame);
      toFrame ??= (await find(page.decoder, picture, [0]))?.toFrame ?? null;
      if (!toFrame || !isWanted()) continue;
      const { data } = framed(picture, toFrame);
      await live(new Found(page, { seen: data, note: "Live from your camera.", steps: 0 }));
    }
  }

  const examples = page.about.examples.map((about, index) => {
    const url = new URL(about.url, page.base);
    const image = h("img", { src: url, alt: "", loading: "lazy", width: 48, height: 48 });
    const aria = { class: "example", "aria-label": `Example face ${index + 1}` };
    const load = async () => new Blob([(await fetched(url, { what: "The example" })).bytes]);
    return button(image, () => take(load()), aria);
  });
  const about = {
    class: "photograph",
    role: "group",
    "aria-label": label,
    tabindex: 0,
    ondragover: (event) => event.preventDefault(),
    ondrop: (event) => {
      event.preventDefault();
      take(event.dataTransfer.files[0] ?? new Blob()); // What is no file is refused in a sentence.
    },
    onpaste: (event) => take(event.clipboardData.files[0] ?? new Blob()),
  };
  const element = h("div", about, [
    input,
    h("div.actions", [
      button("Choose a photo", () => input.click(), { class: live && "primary" }),
      navigator.mediaDevices?.getUserMedia && button("Camera", film),
      examples,
    ]),
    said,
    h("p.note", "Your photograph never leaves this device. You may also drop or paste one here."),
  ]);
  return { element, clear: begin };
}

// Resolves to {video, frame: waits for the next frame, picture: returns a file of the present one, end}.
async function openCamera() {
  const stream = await navigator.mediaDevices.getUserMedia({ video: { facingMode: "user" } }).catch(() => {
    throw new Error("The page cannot use a camera. Allow it for this page, or choose a file.");
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
