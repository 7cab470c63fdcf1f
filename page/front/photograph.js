// A photograph of the visitor's, from a file, the clipboard or a camera, sent to the server to be looked for a face.

import { opaque } from "./decoder.js";
import { button, fromBase64, h } from "./dom.js";
import { complaint } from "./values.js";

// An upload field: {element, clear}; `change` is called with what the server made of a photograph, or null.
export function photograph(page, label, change) {
  const said = h("div", { "aria-live": "polite" });
  const input = h("input", { type: "file", accept: "image/*", hidden: true, onchange: () => send(input.files[0]) });
  let last = 0;

  async function send(file) {
    if (!file) return;
    const mine = ++last;
    element.setAttribute("aria-busy", "true");
    try {
      const found = await encode(page, file);
      if (mine !== last) return; // Another was chosen since.
      said.replaceChildren();
      change(found);
    } catch (error) {
      if (mine === last) said.replaceChildren(complaint(error.message));
    } finally {
      if (mine === last) element.removeAttribute("aria-busy");
      input.value = "";
    }
  }

  const drop = (event) => {
    event.preventDefault();
    send(event.dataTransfer.files[0]);
  };
  const examples = page.about.examples.map((example, index) =>
    button(
      h("img", { src: new URL(example.url, page.base), "aria-hidden": "true", loading: "lazy", width: 48, height: 48 }),
      () => send({ example: example.name }),
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
      ondragover: (e) => e.preventDefault(),
      ondrop: drop,
    },
    h("p", { class: "note" }, label),
    input,
    h(
      "div",
      { class: "actions" },
      button("Choose a file", () => input.click()),
      navigator.mediaDevices?.getUserMedia && button("Camera", () => camera(said, send)),
      examples,
    ),
    said,
  );
  element.addEventListener("paste", (event) => send(event.clipboardData.files[0]));
  return {
    element,
    clear: () => {
      last++; // What is still on its way is waited for no longer.
      element.removeAttribute("aria-busy");
      said.replaceChildren();
    },
  };
}

// What the server makes of a file, or of {example: name}: the pixels that the networks see, and the autoencoders' latents.
export async function encode(page, file) {
  let sent = file;
  if (file instanceof Blob) {
    try {
      sent = await page.upload(file);
    } catch {
      throw new Error("The page did not take this photograph: it may be too large, or the page is busy.");
    }
  }
  const found = await page.server.encode([sent]).catch(() => null);
  if (!found) throw new Error("The page does not answer. Try again in a while.");
  if (found.complaint) throw new Error(found.complaint);
  const latents = Object.entries(found.latents).map(([name, z]) => [name, new Float32Array(fromBase64(z).buffer)]);
  return { ...found, seen: opaque(fromBase64(found.seen), 1), latents: Object.fromEntries(latents) };
}

// What the camera sees, until a picture is taken.
async function camera(place, send) {
  let stream;
  try {
    stream = await navigator.mediaDevices.getUserMedia({ video: { facingMode: "user" } });
  } catch {
    place.replaceChildren(complaint("The browser gives no camera: allow it for this page, or choose a file."));
    return;
  }
  const video = h("video", { autoplay: true, playsinline: true, muted: true });
  video.srcObject = stream;
  const end = () => {
    stream.getTracks().forEach((track) => track.stop());
    place.replaceChildren();
  };
  const take = () => {
    const picture = h("canvas", { width: video.videoWidth, height: video.videoHeight });
    picture.getContext("2d").drawImage(video, 0, 0);
    end();
    picture.toBlob((blob) => send(new File([blob], "camera.jpg", { type: "image/jpeg" })), "image/jpeg", 0.95);
  };
  place.replaceChildren(video, h("div", { class: "actions" }, button("Take the picture", take), button("Cancel", end)));
}
