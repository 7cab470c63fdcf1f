"""A photograph in the browser: the same face, frame and latents as in Python, and nothing of it is sent."""

import base64
import functools
import io
import json
import shutil
import threading
from collections.abc import Callable
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np
import onnxruntime
import pytest
import torch
from PIL import Image, PngImagePlugin

from models import PerceptualAutoencoder, load
from models.alignment import LEAST_FACE, TARGETS, Similarity, _find, align, load_detector
from models.blocks import error_and_gradient
from models.images import denormalise, from_pil, open_image, to_uint8
from models.index import read_index
from page import site
from page.front.graphs import export
from tests.conftest import WEIGHTS

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
expect = playwright.expect
expect.set_options(timeout=20_000)

MODELS = {title: load(WEIGHTS / folder) for folder, title in read_index(WEIGHTS).items()}
CODERS = [title for title, model in MODELS.items() if model.encodes]
TAB = "#tab-reconstruct"

# What the tests call in the page.
HELPERS = """async () => {
  const [pictures, alignment, encoding, png, field] = await Promise.all(
    ["photo/pictures", "photo/alignment", "photo/encoding", "png", "photo/field"].map((name) =>
      import(new URL(`front/${name}.js`, location.href).href)),
  );
  const bytes = (text) => Uint8Array.from(atob(text), (character) => character.charCodeAt(0));
  const text = (array) => {
    let characters = "";
    for (const byte of new Uint8Array(array.buffer)) characters += String.fromCharCode(byte);
    return btoa(characters);
  };
  const page = latentFaces;
  const coders = [...page.models.values()].filter(({ encodes }) => encodes);
  window.tested = {
    look: async (file) => {
      const picture = await pictures.open(new Blob([bytes(file)]));
      const found = await alignment.find(page.decoder, picture);
      const { seen, faces } = await alignment.align(page.decoder, picture);
      const latents = {};
      for (const model of coders) latents[model.name] = text(await encoding.encode(page.decoder, model, seen.data));
      const { a, b, x, y } = found?.toFrame ?? {};
      return { faces, latents, toFrame: found && [a, b, x, y] };
    },
    open: async (file) => {
      const { width, height, data } = await pictures.open(new Blob([bytes(file)]));
      return { width, height, data: text(data) };
    },
    texts: (file) => ({ ...png.textsOf(bytes(file)) }),
    see: async (file) => {
      const { note, drawn } = await field.see(page, new Blob([bytes(file)]));
      return { note, drawn: drawn && { model: drawn.model, recipe: drawn.recipe, z: text(drawn.z) } };
    },
  };
}"""


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    """The page as a folder of files, on a server that hands out files and does nothing else."""
    folder = tmp_path_factory.mktemp("site")
    site.write(folder)

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *args):
            """Nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(folder)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/"
    server.shutdown()
    server.server_close()


@pytest.fixture(scope="module")
def context(chromium):
    context = chromium.new_context()
    yield context
    context.close()


@pytest.fixture
def visit(context, address):
    """A function that opens the tab, after a script."""
    pages = []

    def open_page(script: str = "", link: str = ""):
        page = context.new_page()
        pages.append(page)
        page.complaints = []
        page.on("pageerror", lambda error: page.complaints.append(str(error)))
        page.add_init_script(script)
        page.goto(f"{address}?tab=reconstruct{link}")
        wait_until_drawn(page)
        return page

    yield open_page
    for page in pages:
        assert page.complaints == []
        page.close()


@pytest.fixture(scope="module")
def tested(context, address):
    """A page in which parts are tried on their own: `tested(name, argument)`."""
    page = context.new_page()
    page.goto(f"{address}?tab=reconstruct")
    page.wait_for_function("window.latentFaces?.opened")
    page.evaluate(HELPERS)
    yield lambda name, argument: page.evaluate("([name, argument]) => tested[name](argument)", [name, argument])
    page.close()


def wait_until_drawn(page) -> None:
    page.wait_for_function("window.latentFaces?.opened && latentFaces.tabs.every((tab) => !tab.drawing)")


def wait_until(page, is_so: Callable[[], bool]) -> None:
    for _ in range(400):
        if is_so():
            return
        page.wait_for_timeout(50)
    raise AssertionError("it never came to be so")


def text_of(image: Image.Image, format: str = "PNG", **options) -> str:
    buffer = io.BytesIO()
    image.save(buffer, format, **options)
    return base64.b64encode(buffer.getvalue()).decode()


def array(text: str, kind: type) -> np.ndarray:
    return np.frombuffer(base64.b64decode(text), kind).copy()


def shown(page, selector: str) -> np.ndarray:
    """The pixels of the pictures that a selector finds, (n, 64, 64, 3)."""
    sources = page.locator(f"{TAB} {selector} >> visible=true").evaluate_all("all => all.map((one) => one.toDataURL())")
    opened = (Image.open(io.BytesIO(base64.b64decode(source.partition(",")[2]))) for source in sources)
    return np.array([np.asarray(image.convert("RGB")).astype(int) for image in opened])


def faces_of(model, z: torch.Tensor) -> np.ndarray:
    with torch.inference_mode():
        return denormalise(model.decode(z)).permute(0, 2, 3, 1).numpy().astype(int)


def latent_of(model, image: Image.Image) -> torch.Tensor:
    with torch.inference_mode():
        return model.encode(from_pil(image))


@functools.cache
def photographs(count: int) -> list[Image.Image]:
    """Faces that the models drew, turned, scaled and moved, on noise: of ten pictures one with two, of twenty one with
    none."""
    random = np.random.default_rng(0)
    drawn = [model.generate(count, seed=0) for model in MODELS.values()]
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


@pytest.mark.parametrize("count", [4, pytest.param(200, marks=pytest.mark.slow)])
def test_faces_are_framed_and_encoded_as_python_does(tested, tmp_path, count):
    distances, same, unlike = [], [], {title: [] for title in CODERS}
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
        for title in CODERS:
            theirs = faces_of(MODELS[title], torch.from_numpy(array(got["latents"][title], np.float32))[None])
            ours = faces_of(MODELS[title], latent_of(MODELS[title], aligned.image))
            unlike[title].append(np.abs(theirs - ours).mean())
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
        (lambda: photographs(4)[0].resize((300, 400)), "WEBP", {"lossless": True}, 0.5),
        (lambda: photographs(4)[0].resize((300, 400)), "AVIF", {"quality": 90}, 3),
        (lambda: photographs(4)[0].resize((2000, 300)), "PNG", {}, 0),
        (lambda: photographs(4)[0].convert("L"), "PNG", {}, 0),
        (transparent, "PNG", {}, 1),
    ],
    ids=["JPEG", "EXIF", "WebP", "AVIF", "long", "grey", "transparent"],
)
def test_files_are_opened_as_python_does(tested, tmp_path, image, format, options, most):
    if format == "AVIF" and "AVIF" not in Image.registered_extensions().values():
        pytest.skip("this Pillow writes no AVIF")
    content = text_of(image(), format, **options)
    (tmp_path / "file").write_bytes(base64.b64decode(content))
    expected = np.asarray(open_image(tmp_path / "file")).astype(int)
    got = tested("open", content)
    pixels = array(got["data"], np.uint8).reshape(got["height"], got["width"], 4).astype(int)
    assert pixels.shape[:2] == expected.shape[:2]
    assert (pixels[..., 3] == 255).all() and np.abs(pixels[..., :3] - expected).mean() <= most


def test_the_detectors_graphs_are_its_networks():
    detector = load_detector(LEAST_FACE)
    random = torch.Generator().manual_seed(0)
    for name, (height, width) in {"pnet": (70, 51), "rnet": (24, 24), "onet": (48, 48)}.items():
        x = torch.rand(5, 3, height, width, generator=random) * 2 - 1
        with torch.no_grad():
            box, *landmarks, probabilities = getattr(detector, name)(x)
        session = onnxruntime.InferenceSession((export.GRAPHS / f"{name}.onnx").read_bytes())
        names = ["box", "probabilities", "landmarks"][: 2 + len(landmarks)]
        for got, wanted in zip(session.run(names, {"x": x.numpy()}), [box, probabilities, *landmarks], strict=True):
            np.testing.assert_allclose(got, wanted, atol=2e-6)


def test_the_graphs_are_those_of_the_models(tmp_path):
    export.main(tmp_path)
    written = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    assert written == {
        path.name: path.read_bytes() for path in export.GRAPHS.iterdir() if path.suffix in (".onnx", ".json")
    }


def session(model, part: str, folder: Path) -> onnxruntime.InferenceSession:
    """One of a model's graphs with its weights, from a folder."""
    name = f"{model.architecture}-{part}"
    for tensor in json.loads((export.GRAPHS / export.SHAPES).read_text())[name]:
        (folder / tensor).write_bytes(model.state_dict()[tensor].float().numpy().tobytes())
    shutil.copy(export.GRAPHS / f"{name}.onnx", folder)
    return onnxruntime.InferenceSession(folder / f"{name}.onnx")


@torch.inference_mode()
def test_the_encoders_graphs_are_the_encoders(tmp_path):
    x = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(0)) * 2 - 1
    for title in CODERS:
        folder = tmp_path / title
        folder.mkdir()
        (z,) = session(MODELS[title], "encoder", folder).run(["z"], {"x": x.numpy()})
        wanted = MODELS[title].encoder(x)
        np.testing.assert_allclose(z, wanted, atol=1e-5 * float(wanted.abs().max()))


@torch.inference_mode()
def test_the_slopes_graph_is_the_gradient(tmp_path):
    model = next(model for model in MODELS.values() if isinstance(model, PerceptualAutoencoder))
    x, z = model.decode(model.sample_latent(3, seed=0)), model.sample_latent(3, seed=1)
    error, step = session(model, "slope", tmp_path).run(["error", "step"], {"x": x.numpy(), "z": z.numpy()})
    wanted, gradient = error_and_gradient(model.decoder, z, x)
    np.testing.assert_allclose(error.reshape(3, 1), wanted, rtol=1e-4)
    step_wanted = gradient @ model.preconditioner
    np.testing.assert_allclose(step, step_wanted, atol=2e-4 * float(step_wanted.abs().max()))


def test_texts_of_a_png_are_read(tested):
    texts = PngImagePlugin.PngInfo()
    texts.add_text("latent-faces model", "GAN")
    texts.add_text("Title", "Ä ほ")  # Pillow writes what is not Latin-1 as international text.
    image = Image.new("RGB", (64, 64), "red")
    assert tested("texts", text_of(image, pnginfo=texts)) == {"latent-faces model": "GAN", "Title": "Ä ほ"}
    assert tested("texts", text_of(image, "JPEG")) == {}
    whole = base64.b64decode(text_of(image, pnginfo=texts))
    for end in (0, 7, 40, 60):
        tested("texts", base64.b64encode(whole[:end]).decode())  # A damaged file is no error.


def drawn_by_the_page(face: Image.Image, model: str, recipe: str, filter=Image.Resampling.LANCZOS) -> str:
    texts = PngImagePlugin.PngInfo()
    texts.add_text("latent-faces model", model)
    texts.add_itxt("latent-faces recipe", recipe)
    return text_of(face.resize((512, 512), filter), pnginfo=texts)


def test_a_face_of_this_page_is_known_by_its_recipe(tested):
    for title, model in MODELS.items():
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


def choose(page, image: Image.Image, path: Path) -> None:
    image.save(path)
    page.locator(f"{TAB} input[type=file]").set_input_files(path)
    page.wait_for_function("latentFaces.opened.found?.faces > 0")
    wait_until_drawn(page)


@pytest.fixture
def photograph(tmp_path) -> Image.Image:
    """A picture with one face, and its file in `tmp_path`."""
    return photographs(4)[3]


def test_a_photograph_is_reconstructed_by_each_network(visit, photograph, tmp_path):
    page = visit()
    expect(page.locator(TAB).get_by_text("Your photograph never leaves this device.")).to_be_visible()
    choose(page, photograph, tmp_path / "photo.png")
    aligned = align(open_image(tmp_path / "photo.png"))
    expect(page.get_by_text("A face was found")).to_be_visible()
    assert len(shown(page, ".versions canvas")) == 2  # The others have megabytes to load.
    page.get_by_role("button", name="Compare 3 more networks").click()
    expect(page.locator(f"{TAB} figcaption", has_text="dB")).to_have_count(len(CODERS))
    wait_until_drawn(page)
    seen, *versions = shown(page, ".versions canvas")
    assert np.abs(seen - np.asarray(aligned.image).astype(int)).mean() < 1
    best_first = sorted(CODERS, key=lambda title: not MODELS[title].attributes)
    for title, version, told in zip(
        best_first, versions, page.locator(f"{TAB} figcaption").all_inner_texts()[1:], strict=True
    ):
        wanted = faces_of(MODELS[title], latent_of(MODELS[title], aligned.image))[0]
        assert np.abs(version - wanted).mean() < 1
        error = np.square(version - seen).mean()
        assert told.split("\n") == [title, f"{10 * np.log10(255**2 / error):.1f} dB"]


def test_what_is_pressed_shows_where_it_differs(visit, photograph, tmp_path):
    page = visit()
    choose(page, photograph, tmp_path / "photo.png")
    seen, version = shown(page, ".versions canvas")
    press = page.locator(f"{TAB} .versions button").first
    for down, up in (
        (page.mouse.down, page.mouse.up),
        *((partial(page.keyboard.down, key), partial(page.keyboard.up, key)) for key in (" ", "Enter")),
    ):
        press.hover()
        press.focus()
        down()
        assert np.abs(shown(page, ".versions canvas")[1] - (2 * np.abs(version - seen)).clip(0, 255)).max() == 0
        up()
        assert np.abs(shown(page, ".versions canvas")[1] - version).max() == 0


def test_a_slider_uncovers_before_and_after(visit):
    page = visit()
    slider = page.get_by_label("Before and after")
    after = page.locator(f"{TAB} .uncover canvas").nth(1)
    for value in ("20", "80"):
        slider.fill(value)
        assert after.evaluate("one => getComputedStyle(one).clipPath") == f"inset(0px 0px 0px {value}%)"


def test_a_photograph_follows_its_sliders_and_a_link_keeps_them(visit, photograph, tmp_path):
    page = visit()
    choose(page, photograph, tmp_path / "photo.png")
    model = next(model for model in MODELS.values() if isinstance(model, PerceptualAutoencoder))
    z = latent_of(model, align(open_image(tmp_path / "photo.png")).image)
    page.get_by_label("Smiling", exact=True).fill("2.3")
    wait_until_drawn(page)
    smiling = faces_of(model, model.with_attributes(z, {"Smiling": 2.3}))[0]
    assert np.abs(shown(page, ".uncover canvas")[1] - smiling).mean() < 1
    page.wait_for_function("location.search.includes('attribute.Smiling=2.3')")
    page.get_by_role("button", name="Reset").click()
    wait_until_drawn(page)
    assert np.abs(shown(page, ".uncover canvas")[1] - faces_of(model, z)[0]).mean() < 1

    again = visit(link="&attribute.Smiling=2.3&attribute.Wearing_Necktie=-1")
    expect(again.get_by_label("Smiling", exact=True)).to_have_value("2.3")
    expect(again.get_by_label("Wearing necktie", exact=True)).to_be_visible()  # Unfolded, as it is moved.


def test_a_refused_file_takes_the_faces_away_and_is_told_once(visit, photograph, tmp_path):
    page = visit()
    choose(page, photograph, tmp_path / "photo.png")
    (tmp_path / "text.jpg").write_bytes(b"no picture")
    page.locator(f"{TAB} input[type=file]").set_input_files(tmp_path / "text.jpg")
    expect(page.get_by_role("alert")).to_have_text(
        "Your browser cannot read this file as a picture. Try a JPEG or a PNG."
    )
    expect(page.locator(f"{TAB} canvas").locator("visible=true")).to_have_count(0)
    assert page.get_by_role("alert").count() == 1
    choose(page, photograph, tmp_path / "photo.png")
    expect(page.get_by_role("alert")).to_have_count(0)
    expect(page.locator(f"{TAB} .uncover canvas").first).to_be_visible()


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


def test_the_camera_answers_at_once_and_is_off_when_it_is_not_needed(visit, photograph, tmp_path):
    picture = photograph.resize((640, 480))
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
    picture.save(tmp_path / "camera.png")
    seen = shown(page, ".versions canvas")[0]
    assert (
        np.abs(seen - np.asarray(align(open_image(tmp_path / "camera.png")).image).astype(int)).mean() < 10
    )  # As a video.

    page.get_by_role("button", name="Camera").click()
    page.wait_for_function(is_on)
    choose(page, photograph, tmp_path / "photo.png")
    page.wait_for_function(is_off)
    page.get_by_role("button", name="Camera").click()
    page.wait_for_function(is_on)
    page.get_by_role("tab", name="Morph").click()
    page.wait_for_function(is_off)


def test_a_camera_that_is_refused_is_told(visit):
    page = visit(
        "navigator.mediaDevices.getUserMedia = async () => { throw new DOMException('no', 'NotAllowedError'); };"
    )
    page.get_by_role("button", name="Camera").click()
    expect(page.get_by_role("alert")).to_have_text(
        "There is no camera to be had. Allow it for this page, or choose a file."
    )


def test_a_photograph_never_leaves_the_device(chromium, address, photograph, tmp_path):
    """From its choice on, the browser asks for weights, graphs and its own scripts, and sends nothing along."""
    context = chromium.new_context()
    try:
        page = context.new_page()
        page.goto(f"{address}?tab=reconstruct")
        wait_until_drawn(page)
        asked, channels = [], []
        context.on("request", lambda request: asked.append(request))
        page.on("websocket", lambda channel: channels.append(channel))
        # A browser's other ways out.
        page.evaluate("""() => {
          window.left = [];
          navigator.sendBeacon = (...sent) => left.push(sent);
          for (const kind of ["RTCPeerConnection", "WebTransport", "EventSource"]) window[kind] = class { constructor() { left.push(kind); } };
        }""")
        choose(page, photograph, tmp_path / "photo.png")
        page.get_by_role("button", name="Compare 3 more networks").click()
        expect(page.locator(f"{TAB} figcaption", has_text="dB")).to_have_count(len(CODERS))
        page.get_by_label("Smiling", exact=True).fill("1")
        wait_until_drawn(page)
        page.wait_for_load_state("networkidle")
        assert channels == [] and page.evaluate("left") == []
        assert len(asked) > 3  # The detector's networks and an encoder at least: they were watched.
        for request in asked:
            parts = urlsplit(request.url)
            assert request.url.startswith(address) and request.method == "GET" and not request.post_data_buffer
            assert parts.path.split("/")[1] in ("weights", "front") and parts.path.endswith(
                (".safetensors", ".onnx", ".json", ".gz", ".wasm", ".js", "first/icon.png")
            )
            assert len(parts.query) < 40 and not parts.fragment
            assert len(str(request.headers)) < 1000
    finally:
        context.close()
