// A photograph of the visitor's, from a file, the clipboard or the camera. It stays in this browser.

import { button, h } from "../dom.js";
import { once } from "../fetched.js";
import { textsOf } from "../png.js";
import { complaint, latentOf, readRecipe } from "../values.js";
import { SIDE, difference } from "../views.js";
import { align, find, framed, track } from "./alignment.js";
import { encode } from "./encoding.js";
import { middle, open, snapshot } from "./pictures.js";

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
  async latent(model) {
    if (this.drawn?.model === model.name) return this.drawn.z;
    return once(this.#latents, model.name, () => encode(this.page.decoder, model, this.seen, this.steps));
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
  const texts = textsOf(new Uint8Array(await file.arrayBuffer()));
  const [name, recipe] = ["model_key", "recipe_key"].map((key) => texts.get(page.about.constants[key]));
  const model = page.models.get(name);
  if (!model || picture.width !== picture.height) return null;
  try {
    await model.ready();
    const z = latentOf(model, readRecipe(recipe ?? ""));
    const face = await page.decoder.decode(model, z);
    const { mean } = difference(middle(picture, SIDE).data, face, 1);
    return mean <= MOST_DIFFERENCE ? { face, model: name, recipe, z } : null;
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

  // Do something that a later beginning ends: `work` is told a function that says whether none has come yet.
  async function doing(work, failed = () => {}) {
    const mine = begin();
    const isWanted = () => mine === last;
    try {
      await work(isWanted);
    } catch (error) {
      if (!isWanted()) return;
      begin();
      said.replaceChildren(complaint(error.message));
      failed();
    }
  }

  async function take(file) {
    if (!file) return;
    const look = async (isWanted) => {
      element.setAttribute("aria-busy", "true");
      said.replaceChildren(h("p.note", "Looking for the face …"));
      const found = await see(page, await file);
      if (!isWanted()) return;
      begin();
      change(found);
    };
    await doing(look, () => change(null));
    input.value = "";
  }

  const film = () =>
    doing(async (isWanted) => {
      const opened = await openCamera();
      if (!isWanted()) return opened.end();
      camera = opened;
      const about = { class: "primary", disabled: true };
      const shoot = button("Take the picture", () => take(opened.picture()), about);
      said.replaceChildren(opened.video, h("div.actions", [shoot, button("Stop", begin)]));
      await opened.frame();
      shoot.disabled = false;
      await follow(opened, isWanted);
    });

  // Show each face that the camera sees, until it is ended or another tab is opened.
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

  const example = async (url) => (await fetch(url)).blob();
  const examples = page.about.examples.map((about, index) => {
    const url = new URL(about.url, page.base);
    const image = h("img", { src: url, alt: "", loading: "lazy", width: 48, height: 48 });
    const aria = { class: "example", "aria-label": `Example face ${index + 1}` };
    return button(image, () => take(example(url)), aria);
  });
  const about = {
    class: "photograph",
    role: "group",
    "aria-label": label,
    tabindex: 0,
    ondragover: (event) => event.preventDefault(),
    ondrop: (event) => {
      event.preventDefault();
      take(event.dataTransfer.files[0] ?? new Blob()); // A link to a picture is no file.
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
