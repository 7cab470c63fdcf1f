"""A photograph in the browser: the same face, frame and latents as in Python, and nothing of it is sent."""

import base64
import functools
import os
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from PIL import Image, PngImagePlugin

from models import PerceptualAutoencoder
from models.alignment import TARGETS, Similarity, _find, align
from models.images import from_pil, open_image, to_uint8
from page.catalog import MODELS, autoencoders
from page.front.graphs import export
from page.networks import decode, encode, load
from tests import in_browser
from tests.in_browser import array, text_of, visiting, wait_until, wait_until_drawn

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
expect = playwright.expect

TAB = "#tab-reconstruct"

# What the tests call in the page.
HELPERS = """async () => {
  const [pictures, alignment, encoding, field] = await Promise.all(
    ["pictures", "alignment", "encoding", "field"].map((name) =>
      import(new URL(`front/photo/${name}.js`, location.href).href)),
  );
  const bytes = (text) => Uint8Array.fromBase64(text);
  const text = (array) => new Uint8Array(array.buffer).toBase64();
  const page = latentFaces;
  const coders = [...page.models.values()].filter(({ encodes }) => encodes);
  window.tested = {
    look: async (file) => {
      const picture = await pictures.open(new Blob([bytes(file)]));
      const found = await alignment.find(page.decoder, picture);
      const { seen, faces } = await alignment.align(page.decoder, picture);
      const latents = {};
      for (const model of coders) latents[model.name] = text(await encoding.encode(page.decoder, model, seen.data));
      const { a, b, e, f } = found?.toFrame ?? {};
      return { faces, latents, toFrame: found && [a, b, e, f] };
    },
    open: async (file) => {
      const { width, height, data } = await pictures.open(new Blob([bytes(file)]));
      return { width, height, data: text(data) };
    },
    see: async (file) => {
      const found = await field.see(page, new Blob([bytes(file)]));
      const { note, drawn } = found;
      const latent = async () => text(await found.latent(page.models.get(drawn.model)));
      return { note, drawn: drawn && { model: drawn.model, recipe: drawn.recipe, z: await latent() } };
    },
  };
}"""


@pytest.fixture
def visit(chromium, url):
    """A function that opens the tab, after a script."""
    with ExitStack() as stack:
        pages = []

        def open_page(script: str = "", link: str = ""):
            page = visiting(chromium, f"{url}?tab=reconstruct{link}", lambda page: page.add_init_script(script))
            pages.append(stack.enter_context(page))
            wait_until_drawn(pages[-1])
            return pages[-1]

        yield open_page
        assert [page.complaints for page in pages] == [[] for _ in pages]


@pytest.fixture(scope="module")
def opened(chromium, url):
    with visiting(chromium, f"{url}?tab=reconstruct") as page:
        wait_until_drawn(page)
        page.evaluate(HELPERS)
        yield page


@pytest.fixture(scope="module")
def tested(opened):
    """A function that tries a part of the page on its own: `tested(name, argument)`."""
    return lambda name, argument: opened.evaluate("([name, argument]) => tested[name](argument)", [name, argument])


def shown(page, selector: str) -> np.ndarray:
    """The pixels of the pictures that a selector finds on the tab, (n, 64, 64, 3)."""
    return in_browser.shown(page, f"{TAB} {selector}")


def reconstructed(title: str, image: Image.Image) -> np.ndarray:
    """The faces (1, 64, 64, 3) that Python makes of a framed one."""
    return decode(title, encode(title, from_pil(image))).astype(int)


@functools.cache
def photographs(count: int) -> list[Image.Image]:
    """Faces that the models drew, turned, scaled and moved, on noise: of ten pictures one with two, of twenty one with
    none."""
    random = np.random.default_rng(0)
    drawn = [load(title).generate(count, seed=0) for title in MODELS]
    made = []
    for number in range(count):
        width, height = (int(side) for side in random.integers(200, 1400, 2))
        noise = random.integers(0, 256, (*random.integers(2, 40, 2), 3), dtype=np.uint8)
        picture = Image.fromarray(noise).resize((width, height), Image.Resampling.BICUBIC)
        for _ in range(2 if number % 10 == 1 else 0 if number % 20 == 2 else 1):
            side = int(random.uniform(0.3, 0.9) * min(width, height))
            face = drawn[random.integers(len(drawn))][number].resize((side, side), Image.Resampling.BICUBIC)
            degrees = random.uniform(-180, 180) if number % 4 == 0 else random.normal(0, 15)
            turned = face.convert("RGBA").rotate(degrees, Image.Resampling.BICUBIC, expand=True)
            free = (max(1, whole - part) for whole, part in zip(picture.size, turned.size, strict=True))
            picture.paste(turned, tuple(int(random.uniform(0, most)) for most in free), turned)
        made.append(picture)
    return made


def test_faces_are_framed_and_encoded_as_python_does(tested, tmp_path):
    count = int(os.environ.get("PHOTOGRAPHS", "4"))  # 200 for the figures in docs/alignment.md.
    distances, same, unlike = [], [], {title: [] for title in autoencoders()}
    for picture in photographs(count):
        picture.save(tmp_path / "picture.png")
        opened = open_image(tmp_path / "picture.png")
        wanted, aligned = _find(to_uint8(opened)), align(opened)
        got = tested("look", text_of(picture))
        same.append(got["faces"] == aligned.faces)
        if wanted and got["toFrame"]:
            a, b, x, y = got["toFrame"]
            # Python's landmarks are at the targets of its frame. How far from them are they in the browser's?
            landmarks = wanted.to_frame.inverse(TARGETS)
            distances.append(abs(Similarity(complex(a, b), complex(x, y))(landmarks) - TARGETS).max())
        for title, differences in unlike.items():
            theirs = decode(title, torch.from_numpy(array(got["latents"][title], np.float32))[None])
            differences.append(np.abs(theirs - reconstructed(title, aligned.image)).mean())
    print(f"\n{count} pictures: as many faces in {np.mean(same):.1%}; landmarks of {len(distances)} frames")
    print(f"within 1 pixel of the 64 in {np.mean(np.array(distances) <= 1):.1%}, the furthest {max(distances):.4f}")
    for title, differences in unlike.items():
        print(
            f"{title}: {np.mean(differences):.3f} grey levels between reconstructions, {max(differences):.3f} at most"
        )
    assert np.mean(same) >= 0.95
    assert len(distances) >= 0.7 * count and np.mean(np.array(distances) <= 1) >= 0.95
    assert all(np.mean(differences) <= 1 for differences in unlike.values())


def turned_by_exif() -> dict:
    exif = Image.Exif()
    exif[0x0112] = 6  # The camera was held on its side: turn by 270 degrees to see it.
    return {"exif": exif}


def transparent() -> Image.Image:
    image = photographs(4)[0].resize((300, 320)).convert("RGBA")
    image.putalpha(Image.linear_gradient("L").resize(image.size))
    return image


@pytest.mark.parametrize(
    ("image", "format", "options", "most"),
    [
        (lambda: photographs(4)[0].resize((1000, 700)), "JPEG", {"quality": 95}, 2),
        (lambda: photographs(4)[0].resize((300, 400)), "JPEG", turned_by_exif(), 2),
        (lambda: photographs(4)[0].resize((2000, 300)), "PNG", {}, 0),
        (transparent, "PNG", {}, 1),
    ],
    ids=["JPEG", "EXIF", "long", "transparent"],
)
def test_files_are_opened_as_python_does(tested, tmp_path, image, format, options, most):
    content = text_of(image(), format, **options)
    (tmp_path / "file").write_bytes(base64.b64decode(content))
    expected = np.asarray(open_image(tmp_path / "file")).astype(int)
    got = tested("open", content)
    pixels = array(got["data"], np.uint8).reshape(got["height"], got["width"], 4).astype(int)
    assert pixels.shape[:2] == expected.shape[:2]
    assert (pixels[..., 3] == 255).all() and np.abs(pixels[..., :3] - expected).mean() <= most


def computed(graph: str, model, **inputs: torch.Tensor) -> list[torch.Tensor]:
    """The outputs of a graph in page/front/graphs that takes a model's weights, in the order of their names."""
    network, weights = onnx.load(export.GRAPHS / f"{graph}.onnx", load_external_data=False), model.state_dict()
    for tensor in network.graph.initializer:
        if tensor.data_location == onnx.TensorProto.EXTERNAL:
            tensor.CopyFrom(onnx.numpy_helper.from_array(weights[tensor.external_data[0].value].numpy(), tensor.name))
    session = onnxruntime.InferenceSession(network.SerializeToString())
    names = sorted(output.name for output in session.get_outputs())
    return [*map(torch.from_numpy, session.run(names, {name: x.numpy() for name, x in inputs.items()}))]


@pytest.mark.slow
def test_the_graphs_are_written_anew_as_they_are_and_compute_what_the_models_do(tmp_path, monkeypatch):
    export.main(tmp_path)
    names = {path.name for path in export.GRAPHS.iterdir() if path.suffix in (".onnx", ".json")}
    assert {path.name for path in tmp_path.iterdir()} == names
    assert (tmp_path / export.SHAPES).read_bytes() == (export.GRAPHS / export.SHAPES).read_bytes()
    monkeypatch.setattr(export, "GRAPHS", tmp_path)
    x = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(0)) * 2 - 1
    for model in map(load, autoencoders()):
        (z,) = computed(f"{model.model_type}-encoder", model, x=x)
        torch.testing.assert_close(z, model.encoder(x), atol=2e-4, rtol=2e-4)
        if isinstance(model, PerceptualAutoencoder):
            error, step = computed(f"{model.model_type}-slope", model, x=x, z=z)
            z.requires_grad_()
            wanted = (model.decoder(z) - x).square().sum((1, 2, 3)) / 2
            (gradient,) = torch.autograd.grad(wanted.sum(), z)
            torch.testing.assert_close(error.flatten(), wanted, atol=0, rtol=2e-4)
            torch.testing.assert_close(step, gradient @ model.preconditioner, atol=2e-4, rtol=2e-4)


def drawn_by_the_page(face: Image.Image, model: str, recipe: str, filter=Image.Resampling.LANCZOS) -> str:
    texts = PngImagePlugin.PngInfo()
    texts.add_text("latent-faces model", model)
    texts.add_itxt("latent-faces recipe", recipe)
    return text_of(face.resize((512, 512), filter), pnginfo=texts)


def test_a_face_of_this_page_is_known_by_its_recipe(tested):
    for title in MODELS:
        model = load(title)
        face = model.generate(3, seed=7)[2]
        found = tested("see", drawn_by_the_page(face, title, "7/3"))
        assert found["drawn"]["model"] == title and found["drawn"]["recipe"] == "7/3"
        np.testing.assert_allclose(array(found["drawn"]["z"], np.float32), model.sample_latent(3, seed=7)[2], atol=1e-5)
        assert "drew this face: 7/3" in found["note"]
        squares = tested("see", drawn_by_the_page(face, title, "7/3", Image.Resampling.NEAREST))
        assert squares["drawn"] == found["drawn"]
        # Written into another face, or as no recipe, it is not believed.
        assert tested("see", drawn_by_the_page(model.generate(1, seed=8)[0], title, "7/3"))["drawn"] is None
    assert tested("see", drawn_by_the_page(face, title, "seven"))["drawn"] is None
    assert tested("see", drawn_by_the_page(face, "constructor", "7/3"))["drawn"] is None


@pytest.fixture(scope="module")
def photograph(tmp_path_factory) -> Path:
    """A picture with one face."""
    path = tmp_path_factory.mktemp("photograph") / "photo.png"
    photographs(4)[3].save(path)
    return path


@pytest.fixture(scope="module")
def aligned(photograph) -> Image.Image:
    """The face in it, as Python frames it."""
    return align(open_image(photograph)).image


def choose(page, path: Path) -> None:
    page.evaluate("latentFaces.opened.found = null")
    page.locator(f"{TAB} input[type=file]").set_input_files(path)
    page.wait_for_function("latentFaces.opened.found?.note.startsWith('A face')")
    wait_until_drawn(page)


@pytest.fixture
def chosen(opened, photograph):
    """A page on which the photograph was chosen, and nothing else was done."""
    opened.evaluate(
        "latentFaces.opened.take(Object.fromEntries(latentFaces.opened.changes.map(({ name }) => [name, 0])))"
    )
    choose(opened, photograph)
    return opened


def test_a_photograph_is_reconstructed_by_each_network(chosen, aligned):
    page = chosen
    expect(page.locator(TAB).get_by_text("Your photograph never leaves this device.")).to_be_visible()
    expect(page.get_by_text("A face was found")).to_be_visible()
    assert len(shown(page, ".versions canvas")) == 2  # The others have megabytes to load.
    page.get_by_role("button", name="Compare 3 more networks").click()
    expect(page.locator(f"{TAB} figcaption", has_text="dB")).to_have_count(len(autoencoders()))
    wait_until_drawn(page)
    seen, *versions = shown(page, ".versions canvas")
    assert np.abs(seen - np.asarray(aligned).astype(int)).mean() < 1
    best_first = sorted(autoencoders(), key=lambda title: not load(title).attributes)
    captions = page.locator(f"{TAB} figcaption").all_inner_texts()[1:]
    for title, version, told in zip(best_first, versions, captions, strict=True):
        assert np.abs(version - reconstructed(title, aligned)[0]).mean() < 1
        error = np.square(version - seen).mean()
        assert told.split("\n") == [title, f"{10 * np.log10(255**2 / error):.1f} dB"]


def test_the_photograph_is_compared_with_what_a_network_makes_of_it(chosen):
    page = chosen
    seen, version, *_ = shown(page, ".versions canvas")
    press = page.locator(f"{TAB} .versions button").first
    keys = (partial(page.keyboard.down, "Enter"), partial(page.keyboard.up, "Enter"))
    for down, up in ((page.mouse.down, page.mouse.up), keys):
        press.hover()
        press.focus()
        down()
        assert np.abs(shown(page, ".versions canvas")[1] - (2 * np.abs(version - seen)).clip(0, 255)).max() == 0
        up()
        assert np.abs(shown(page, ".versions canvas")[1] - version).max() == 0
    assert (shown(page, ".uncover canvas")[0] == seen).all()
    page.get_by_label("Before and after").fill("20")
    after = page.locator(f"{TAB} .uncover canvas").nth(1)
    assert after.evaluate("one => getComputedStyle(one).clipPath") == "inset(0px 0px 0px 20%)"


def test_a_photograph_follows_its_sliders_and_a_link_keeps_them(chosen, visit, aligned):
    page = chosen
    title = "Perceptual autoencoder"
    z = encode(title, from_pil(aligned))
    page.get_by_label("Smiling", exact=True).fill("2.3")
    wait_until_drawn(page)
    smiling = decode(title, load(title).with_attributes(z, {"Smiling": 2.3}))[0]
    assert np.abs(shown(page, ".uncover canvas")[1] - smiling).mean() < 1
    page.wait_for_function("location.search.includes('attribute.Smiling=2.3')")
    page.get_by_role("button", name="Reset").click()
    wait_until_drawn(page)
    assert np.abs(shown(page, ".uncover canvas")[1] - decode(title, z)[0]).mean() < 1

    again = visit(link="&attribute.Smiling=2.3&attribute.Wearing_Necktie=-1")
    expect(again.get_by_label("Smiling", exact=True)).to_have_value("2.3")
    expect(again.get_by_label("Wearing necktie", exact=True)).to_be_visible()  # Unfolded, as it is moved.


def test_a_refused_file_takes_the_faces_away_and_is_told_once(chosen, photograph, tmp_path):
    page = chosen
    (tmp_path / "text.jpg").write_bytes(b"no picture")
    page.locator(f"{TAB} input[type=file]").set_input_files(tmp_path / "text.jpg")
    sentence = "Your browser cannot read this file as a picture. Try a JPEG or a PNG."
    expect(page.get_by_role("alert")).to_have_text(sentence)
    expect(page.locator(f"{TAB} canvas").locator("visible=true")).to_have_count(0)
    assert page.get_by_role("alert").count() == 1
    choose(page, photograph)
    expect(page.get_by_role("alert")).to_have_count(0)
    expect(page.locator(f"{TAB} .uncover canvas").first).to_be_visible()
    for place, told in (("h1", 0), (f"{TAB} .photograph", 1)):  # A file that is dropped does not replace the page.
        assert page.locator(place).evaluate(DROP)
        expect(page.get_by_role("alert")).to_have_count(told)


# Drops a file that is no picture on an element; whether the page keeps the browser from opening it.
DROP = """(element) => {
  const dataTransfer = new DataTransfer();
  dataTransfer.items.add(new File(["no picture"], "text.jpg"));
  return !element.dispatchEvent(new DragEvent("drop", { dataTransfer, bubbles: true, cancelable: true }));
}"""

# A camera that sees a picture, in place of the machine's.
CAMERA = """
navigator.mediaDevices.getUserMedia = async () => {
  const image = new Image();
  image.src = "data:image/png;base64,PICTURE";
  await image.decode();
  const canvas = document.createElement("canvas");
  [canvas.width, canvas.height] = [image.width, image.height];
  const context = canvas.getContext("2d");
  setInterval(() => context.drawImage(image, 0, 0), 50);
  return (window.stream = canvas.captureStream());
};
"""


def test_the_camera_answers_at_once_and_is_off_when_it_is_not_needed(visit, photograph):
    picture = Image.open(photograph).resize((640, 480))
    page = visit(CAMERA.replace("PICTURE", text_of(picture)))
    is_on = "() => window.stream?.active === true"
    is_off = "() => window.stream?.active === false"
    first = shown(page, ".uncover canvas")
    page.get_by_role("button", name="Camera").click()
    expect(page.get_by_text("Live from your camera.")).to_be_visible()
    page.wait_for_function(is_on)
    wait_until(page, lambda: np.abs(shown(page, ".uncover canvas") - first).mean() > 5)
    page.get_by_role("button", name="Take the picture").click()
    expect(page.get_by_text("A face was found")).to_be_visible()
    page.wait_for_function(is_off)
    expect(page.locator("video")).to_have_count(0)
    wait_until_drawn(page)
    seen, wanted = shown(page, ".versions canvas")[0], np.asarray(align(picture).image).astype(int)
    assert np.abs(seen - wanted).mean() < 10  # As a video.

    for leave in (lambda: choose(page, photograph), page.get_by_role("tab", name="Morph").click):
        page.get_by_role("button", name="Camera").click()
        page.wait_for_function(is_on)
        leave()
        page.wait_for_function(is_off)


def test_a_camera_that_is_refused_is_told(visit):
    page = visit(
        "navigator.mediaDevices.getUserMedia = async () => { throw new DOMException('no', 'NotAllowedError'); };"
    )
    page.get_by_role("button", name="Camera").click()
    sentence = "The page cannot use a camera. Allow it for this page, or choose a file."
    expect(page.get_by_role("alert")).to_have_text(sentence)


def test_a_photograph_never_leaves_the_device(visit, url, photograph):
    """From its choice on, the browser asks for weights, graphs and its own scripts, and sends nothing along."""
    page, asked, channels = visit(), [], []
    page.context.on("request", lambda request: asked.append(request))
    page.on("websocket", lambda channel: channels.append(channel))
    # A browser's other ways out.
    page.evaluate("""() => {
      window.left = [];
      navigator.sendBeacon = (...sent) => left.push(sent);
      for (const kind of ["RTCPeerConnection", "WebTransport", "EventSource"]) window[kind] = class { constructor() { left.push(kind); } };
    }""")
    choose(page, photograph)
    page.get_by_role("button", name="Compare 3 more networks").click()
    expect(page.locator(f"{TAB} figcaption", has_text="dB")).to_have_count(len(autoencoders()))
    page.get_by_label("Smiling", exact=True).fill("1")
    wait_until_drawn(page)
    page.wait_for_load_state("networkidle")
    assert channels == [] and page.evaluate("left") == []
    assert len(asked) > 3  # The detector's networks and an encoder at least: they were watched.
    for request in asked:
        if request.url.startswith("blob:"):
            continue  # What this page itself has made.
        parts = urlsplit(request.url)
        assert request.url.startswith(url) and request.method == "GET" and not request.post_data_buffer
        assert parts.path.split("/")[1] in ("weights", "front")
        assert parts.path.endswith((".safetensors", ".onnx", ".json", ".gz", ".wasm", ".js", "first/icon.png"))
        assert len(parts.query) < 40 and not parts.fragment
        assert len(str(request.headers)) < 1000
