"""What the page computes in the browser: its draws, latents and faces are those of the library."""

import base64
import hashlib
import http.server
import json
import threading
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch

from models import AttributeGenerator, Autoencoder, FaceModel, Generator, PerceptualAutoencoder, load
from models.images import denormalise
from models.index import read_index
from page.front.kernel import export
from tests.conftest import WEIGHTS

FRONT = Path(__file__).parent.parent / "page/front"
NAMES = read_index(WEIGHTS)
MODELS = {title: load(WEIGHTS / folder) for folder, title in NAMES.items()}
FOLDERS = {title: folder for folder, title in NAMES.items()}
MEANS = (0, -3, 100, -100)


class Files(http.server.SimpleHTTPRequestHandler):
    """page/front, weights/ and an empty page, in parts where asked for (and where the server is one that does)."""

    def do_GET(self):
        self.server.asked.append(self.path)
        path = self.path.partition("?")[0]
        content = self.server.files.get(path)
        if callable(content) and (content := content(self)) is False:
            return  # It has answered, or never will.
        if content is None:
            folder = {"front": FRONT, "weights": WEIGHTS}.get(path.split("/")[1])
            file = folder and folder / path.split("/", 2)[2]
            if not (file and file.is_file()):
                return self.send_error(404)
            content = file.read_bytes()
        wanted = self.headers.get("Range")
        if wanted and self.server.gives_parts:
            first, last = map(int, wanted.removeprefix("bytes=").split("-"))
            self.send_response(206)
            self.send_header("Content-Range", f"bytes {first + self.server.off}-{last}/{len(content)}")
            self.send_header("ETag", hashlib.sha256(content).hexdigest())
            content = content[first : last + 1]
        else:
            self.send_response(200)
        self.send_header("Content-Type", "text/html" if path == "/" else self.guess_type(path))
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.server.sent += len(content) * path.startswith("/weights")
        self.wfile.write(content)

    def log_message(self, *args):
        """Nothing."""


# What the tests call in the page.
HELPERS = """
import { Decoder } from "/front/decoder.js";
import { Model } from "/front/models.js";
import * as draws from "/front/draws.js";
const text = (array) => {
  const bytes = new Uint8Array(array.buffer);
  let string = "";
  for (let i = 0; i < bytes.length; i += 32768) string += String.fromCharCode(...bytes.subarray(i, i + 32768));
  return btoa(string);
};
const numbers = (text) => new Float32Array(Uint8Array.from(atob(text), (c) => c.charCodeAt(0)).buffer);
const modelsOf = (abouts) => new Map(abouts.map((about) => [about.name, new Model(about, location.href)]));
const said = (promise) => promise.then(() => "nothing", (error) => error.message);
Object.assign(window, { Decoder, Model, draws, text, numbers, modelsOf, said });
"""


@pytest.fixture(scope="module")
def server():
    yield from serve(gives_parts=True)


@pytest.fixture(scope="module")
def plain_server():
    """One that knows no Range, as Python's own."""
    yield from serve(gives_parts=False)


def serve(gives_parts: bool):
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Files)
    server.gives_parts, server.files, server.asked, server.sent, server.off = gives_parts, {}, [], 0, 0
    server.files["/"] = f"<!doctype html><title>Test</title><script type=module>{HELPERS}</script>".encode()
    server.url = f"http://127.0.0.1:{server.server_port}/"
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


@pytest.fixture
def files(server):
    """What the server gives in place of its files, by their addresses; as before after the test."""
    before = dict(server.files)
    yield server.files
    server.files.clear()
    server.files.update(before)


@pytest.fixture
def visit(chromium):
    """A function that opens a server's page in a browser of its own, after a script."""
    contexts = []

    def open_page(server, script: str = ""):
        context = chromium.new_context()
        contexts.append(context)
        context.add_init_script(script)
        page = context.new_page()
        page.goto(server.url)
        page.wait_for_function("!!window.Decoder")
        return page

    yield open_page
    for context in contexts:
        context.close()


def about(model: FaceModel, folder: str, name: str, file: bytes | None = None) -> dict:
    """A model's entry in page.json."""
    file = file or (WEIGHTS / folder / "model.safetensors").read_bytes()
    return {
        "name": name,
        "said": name.lower(),
        "kind": model.model_type,
        "architecture": model.architecture,
        "latent_size": model.latent_size,
        "discrete_size": model.discrete_size,
        "prior_mean": model.prior_mean,
        "prior_variance": model.prior_variance,
        "attributes": list(model.attributes),
        "best": list(model.attributes)[:3],
        "encodes": model.encodes,
        "weights": {
            "url": f"weights/{folder}/model.safetensors?v=1",
            "size": len(file),
            "blocks": [hashlib.sha256(file[at : at + 2**18]).hexdigest() for at in range(0, len(file), 2**18)],
        },
    }


ABOUTS = [about(model, FOLDERS[title], title) for title, model in MODELS.items()]
GAN = ABOUTS[0]


def array(text: str, kind=np.float32) -> np.ndarray:
    return np.frombuffer(base64.b64decode(text), kind)


def encoded(z: torch.Tensor) -> str:
    return base64.b64encode(z.numpy().tobytes()).decode()


def test_draws_are_numpys(visit, server):
    seeds = [0, 1, 2, 42, 2**31, 2**32 - 1, *map(int, np.random.default_rng(5).integers(0, 2**32, 194))]
    page = visit(server)
    drawn = page.evaluate(
        """(seeds) => Object.fromEntries(
          [["normals", 3000], ["uniforms", 501], ["doubles", 51]].map(([kind, count]) =>
            [kind, seeds.map((seed) => text(draws[kind](seed, count)))]))""",
        seeds,
    )
    rng = lambda seed, stream: np.random.default_rng([seed, stream])
    for seed, text in zip(seeds, drawn["uniforms"], strict=True):
        assert np.array_equal(array(text), rng(seed, 2).random(501, dtype=np.float32))
    for seed, text in zip(seeds, drawn["doubles"], strict=True):
        assert np.array_equal(array(text, np.float64), rng(seed, 3).random(51))
    normals = np.stack([array(text) for text in drawn["normals"]])
    expected = np.stack([rng(seed, 0).standard_normal(3000, dtype=np.float32) for seed in seeds])
    assert (np.abs(expected) > 3.6542).any()  # The tail is among them.
    # A logarithm there may round another way.
    assert np.abs(normals - expected).max() < 1e-6 and (normals != expected).sum() <= 5


SAMPLES = [(seed, {}) for seed in (0, 7, 123456, 2**32 - 1)] + [(7, {"mean": -100, "variance": 4}), (3, {"mean": 0.5})]
PATHS = [(way, discrete) for way in ("straight", "spherical") for discrete in ("relaxed", "switched", "held")]


def test_latents_are_the_models(visit, server):
    """Drawn, with attributes, with held bits, and on the way from one to another."""
    page = visit(server)
    for entry in ABOUTS:
        model = MODELS[entry["name"]]
        names = model.attributes
        values = {names[31]: 1, names[2]: -1, names[39]: 0.3} if names else {}
        bits = "".join("+-."[i % 3] for i in range(model.discrete_size))
        answer = page.evaluate(
            """async ([about, samples, values, bits, paths]) => {
              const model = new Model(about, location.href);
              await model.ready();
              const drawn = samples.map(([seed, moved]) => model.sample(seed, 20, moved));
              const [a, b] = [model.sample(1, 1), model.sample(2, 1)];
              const ways = paths.flatMap(([way, discrete]) =>
                [2, 11, 12].map((steps) => model.interpolate(a, b, steps, way, discrete)));
              const opposite = model.interpolate(a, a.map((x) => 2 * about.prior_mean - x), 5, "spherical");
              const held = about.discrete_size ? [model.holdBits(drawn[0], bits)] : [];
              return [...drawn, model.withAttributes(drawn[0], values), ...ways, opposite, ...held].map(text);
            }""",
            [entry, SAMPLES, values, bits, PATHS],
        )
        z = [model.sample_latent(20, seed, **moved) for seed, moved in SAMPLES]
        a, b = model.sample_latent(1, 1)[0], model.sample_latent(1, 2)[0]
        path = partial(model.interpolate, a, b)
        expected = [*z, model.with_attributes(z[0], values)]
        expected += [path(steps, way == "spherical", discrete) for way, discrete in PATHS for steps in (2, 11, 12)]
        expected.append(model.interpolate(a, 2 * model.prior_mean - a, 5, True))
        expected += [model.hold_bits(z[0], bits)] if bits else []
        for text, latents in zip(answer, expected, strict=True):
            # Sums of a hundred products, in another order; otherwise the last bit.
            assert np.allclose(array(text), latents.flatten().numpy(), rtol=3e-6, atol=3e-6), entry["name"]
        assert model.discrete_size == 0 or np.array_equal(
            array(answer[0]).reshape(20, -1)[:, model.continuous_size :], z[0][:, model.continuous_size :].numpy()
        )


WRONG = {
    "model.holdBits(z, '+-')": "50 characters",
    "model.withAttributes(z, { Wings: 1 })": "has no attribute Wings",
    "model.withAttributes(z, { Smiling: 1.5 })": "between -1 and 1",
    "model.interpolate(z, z, 1)": "2 steps or more",
    "model.interpolate(z, z, 2, 'straight', 'torn')": "cannot be torn",
    "decoder.decode('Attribute GAN', z.slice(1))": "no latents of the Attribute GAN",
    "decoder.decode('Statue', z)": "no latents of the Statue",
}


def test_what_is_no_wish_is_refused_in_a_sentence(visit, server):
    complaints = visit(server).evaluate(
        """async ([abouts, calls]) => {
          const models = modelsOf(abouts), model = models.get("Attribute GAN");
          await model.ready();
          const z = model.sample(0, 1), decoder = new Decoder(models, location.href);
          return Promise.all(calls.map((call) => said(eval(`(async () => ${call})()`))));
        }""",
        [ABOUTS, list(WRONG)],
    )
    for complaint, sentence in zip(complaints, WRONG.values(), strict=True):
        assert sentence in complaint and complaint.endswith(".")


def test_layers_are_what_the_command_writes(tmp_path):
    export.main(tmp_path / "decoders.json")
    assert (tmp_path / "decoders.json").read_text() == export.DECODERS.read_text()
    architectures = json.loads(export.DECODERS.read_text()).keys()
    trained = (Generator(), Autoencoder(), AttributeGenerator(attributes=("Hat",)), PerceptualAutoencoder())
    assert architectures == {model.architecture for model in (*MODELS.values(), *trained)}


def far_and_near(model: FaceModel) -> tuple[torch.Tensor, np.ndarray]:
    """Latents around several means, and their faces in float32, (n, 64, 64, 3)."""
    z = torch.cat([model.sample_latent(4, seed=1, mean=mean) for mean in MEANS])
    with torch.inference_mode():
        return z, denormalise(model.decode(z)).permute(0, 2, 3, 1).numpy().astype(int)


# Decodes latents by each model.
DECODE = """async ([abouts, latents]) => {
  const decoder = new Decoder(modelsOf(abouts), location.href);
  const faces = await Promise.all(abouts.map(({ name }, i) => decoder.decode(name, numbers(latents[i]))));
  return { faces: faces.map(text), status: decoder.status };
}"""


def decode(page, abouts: list[dict]) -> dict:
    """As `DECODE` answers, after comparing the faces with the models' own."""
    wanted = [far_and_near(MODELS[entry["name"]]) for entry in abouts]
    answer = page.evaluate(DECODE, [abouts, [encoded(z) for z, _ in wanted]])
    for text, (_, faces) in zip(answer["faces"], wanted, strict=True):
        pixels = array(text, np.uint8).reshape(-1, 64, 64, 4).astype(int)
        assert np.abs(pixels[..., :3] - faces).max() <= 1 and (pixels[..., 3] == 255).all()
    return answer


def test_the_browser_decodes_as_the_models(visit, server):
    answer = decode(visit(server), ABOUTS)
    status = answer["status"]
    assert status["state"] == "ready" and status["reason"] == ""
    assert status["loaded"] == status["total"] > 20e6


def test_it_loads_what_it_needs_once(visit, server):
    """Of an autoencoder half, on a second visit nothing; and besides only what is in page/front."""
    entry = ABOUTS[1]
    page, sent = visit(server), server.sent
    decode(page, [entry])
    assert 4.6e6 < server.sent - sent < 4.6e6 + 2**18
    page.reload()
    page.wait_for_function("!!window.Decoder")
    server.asked.clear()
    decode(page, [entry])
    asked = {path.partition("?")[0] for path in server.asked}
    kernel = {f"/front/kernel/{name}" for name in ("kernel.wasm", "decoders.json", "worker.js", "decoder.js")}
    assert asked == kernel | {"/front/weights.js", "/front/fetched.js"}


def test_a_changed_file_takes_the_place_of_the_old(visit, server):
    page = visit(server)
    decode(page, [GAN])
    kept = "caches.open('latent-faces-weights').then((cache) => cache.keys()).then((all) => all.map(({ url }) => url))"
    before = page.evaluate(kept)
    decode(page, [{**GAN, "weights": {**GAN["weights"], "url": GAN["weights"]["url"].replace("v=1", "v=2")}}])
    after = page.evaluate(kept)
    assert before and all("v=1" in url for url in before)
    assert len(after) == len(before) and all("v=2" in url for url in after)


def test_it_works_without_parts(visit, plain_server):
    decode(visit(plain_server), [GAN, ABOUTS[5]])
    assert sum(path.startswith("/weights/gan") for path in plain_server.asked) == 1


def test_it_works_where_nothing_can_be_kept(visit, server):
    """As without a secure context."""
    decode(visit(server, "delete window.caches; delete Window.prototype.caches"), [GAN])


def test_weights_of_any_precision_are_read(visit, server, files):
    page, z = visit(server), MODELS["Shifted autoencoder"].sample_latent(2, seed=0)
    for dtype in (torch.float32, torch.float64, torch.bfloat16):
        tensors = MODELS["Shifted autoencoder"].state_dict().items()
        stored = {name: tensor.to(dtype) if tensor.is_floating_point() else tensor for name, tensor in tensors}
        folder = str(dtype).removeprefix("torch.")
        files[f"/weights/{folder}/model.safetensors"] = file = safetensors.torch.save(stored)
        model = Autoencoder(prior_mean=-3.0).eval()
        model.load_state_dict({name: tensor.float() for name, tensor in stored.items()})
        answer = page.evaluate(DECODE, [[about(model, folder, "Other", file)], [encoded(z)]])
        with torch.inference_mode():
            faces = denormalise(model.decode(z)).permute(0, 2, 3, 1).numpy().astype(int)
        pixels = array(answer["faces"][0], np.uint8).reshape(-1, 64, 64, 4)[..., :3].astype(int)
        assert np.abs(pixels - faces).max() <= 1


# The faces of a latent twice, or why there are none, and the decoder's status.
TWICE = """async (about) => {
  const decoder = new Decoder(modelsOf([about]), location.href);
  const z = new Float32Array(about.latent_size).map((_, i) => Math.sin(i));
  const [first, last] = [await said(decoder.decode(about.name, z)), await said(decoder.decode(about.name, z))];
  return { first, last, status: decoder.status };
}"""


def assert_fails(page, entry: dict, sentence: str) -> None:
    answer = page.evaluate(TWICE, entry)
    assert answer["status"]["state"] == "failed"
    for said in (answer["first"], answer["last"], answer["status"]["reason"]):
        assert sentence in said and said.endswith(".")


def damaged(file: bytes, how: str) -> bytes:
    length = int.from_bytes(file[:8], "little")
    header = json.loads(file[8 : 8 + length])
    if how == "numbers":
        start, end = header["layers.1.0.weight"]["data_offsets"]
        return file[: 8 + length + start] + b"\xff" * (end - start) + file[8 + length + end :]
    if how == "offsets":
        header["layers.1.0.weight"]["data_offsets"][1] -= 2
    if how == "overlap":
        header["layers.1.0.weight"]["data_offsets"] = [at + 2 for at in header["layers.1.0.weight"]["data_offsets"]]
    if how == "name":
        header["layer"] = header.pop("layers.1.0.weight")
    text = b"{not JSON" if how == "json" else json.dumps(header).encode()
    size = 2**60 if how == "length" else len(text)
    return size.to_bytes(8, "little") + text + file[8 + length :]


@pytest.mark.parametrize(
    ("how", "sentence"),
    [
        ("numbers", "The GAN cannot be run in this browser: layers.1.0.weight holds what is no number."),
        ("offsets", "The weights of the GAN are damaged: layers.1.0.weight is not where its header says."),
        ("overlap", "The weights of the GAN are damaged: layers.1.0.weight and layers.1.1."),
        ("name", "The weights of the GAN are damaged: it has no layers.1.0.weight."),
        ("json", "The weights of the GAN are damaged: its header is no JSON object."),
        ("length", "The weights of the GAN are damaged: its header is too long."),
    ],
    ids=lambda value: value.split()[0],
)
def test_a_damaged_file_is_no_model(visit, server, files, how, sentence):
    file = damaged((WEIGHTS / "gan/model.safetensors").read_bytes(), how)
    files["/weights/damaged/model.safetensors"] = file
    assert_fails(visit(server), about(MODELS["GAN"], "damaged", "GAN", file), sentence)


def test_models_of_other_sizes_are_drawn(visit, server, files):
    model = Generator(hidden_size=16).eval()
    files["/weights/other/model.safetensors"] = file = safetensors.torch.save(model.state_dict())
    z, faces = far_and_near(model)
    answer = visit(server).evaluate(DECODE, [[about(model, "other", "Thin GAN", file)], [encoded(z)]])
    pixels = array(answer["faces"][0], np.uint8).reshape(-1, 64, 64, 4)[..., :3].astype(int)
    assert np.abs(pixels - faces).max() <= 1


def test_a_model_of_sizes_that_the_kernel_does_not_take_is_refused(visit, server, files):
    model = Generator(hidden_size=10)
    files["/weights/other/model.safetensors"] = file = safetensors.torch.save(model.state_dict())
    sentence = "The Thin GAN cannot be run in this browser: layers.1.0 is of 40 x 20, no multiples of 8."
    assert_fails(visit(server), about(model, "other", "Thin GAN", file), sentence)


NOWHERE = {**GAN, "weights": {**GAN["weights"], "url": "weights/nowhere/model.safetensors?v=1"}}
DEAD = "Worker = class { postMessage() { setTimeout(() => this.onerror()); } terminate() {} }"
FULL = """Worker = class {
  postMessage({ name }) {
    if (name) setTimeout(() => this.onmessage({ data: { complaint: "bad alloc", isMemory: true } }));
  }
  terminate() {}
}"""


@pytest.mark.parametrize(
    ("entry", "script", "sentence"),
    [
        (NOWHERE, "", "The weights of the GAN cannot be loaded: the server answers 404."),
        ({**GAN, "architecture": "statue"}, "", "The GAN has layers that a browser cannot compute."),
        (GAN, DEAD, "This browser cannot run what draws the faces."),
        (GAN, FULL, "This browser has no memory left to draw faces."),
    ],
    ids=["no weights", "no layers", "dead workers", "no memory"],
)
def test_a_failure_is_a_sentence(visit, server, entry, script, sentence):
    assert_fails(visit(server, script), entry, sentence)


def test_a_browser_without_webassembly_says_so_and_loads_nothing(visit, server):
    page = visit(server, "delete window.WebAssembly")
    server.asked.clear()
    answer = page.evaluate(TWICE, GAN)
    assert answer["status"]["state"] == "unable" and server.asked == []
    sentence = "This browser has no WebAssembly, so it shows only the pictures that came with the page."
    assert answer["first"] == answer["last"] == answer["status"]["reason"] == sentence


# Weights: checked, then kept.


KEPT = "latent-faces-weights"
SPOIL = f"""async () => {{
  const cache = await caches.open("{KEPT}"), keys = await cache.keys();
  for (const key of keys) {{
    const bytes = new Uint8Array(await (await cache.match(key)).arrayBuffer());
    await cache.put(key, new Response(bytes.map((byte, i) => (i % 1000 ? byte : byte ^ 64))));
  }}
  return keys.length;
}}"""


def test_weights_that_were_damaged_where_they_are_kept_are_loaded_anew(visit, server):
    page = visit(server)
    decode(page, [GAN])
    assert page.evaluate(SPOIL) > 1
    for expected in (True, False):  # And are right after that.
        page.reload()
        page.wait_for_function("!!window.Decoder")
        server.asked.clear()
        decode(page, [GAN])
        assert any(path.startswith("/weights") for path in server.asked) == expected


def test_weights_that_come_damaged_are_not_kept(visit, server, files):
    right = (WEIGHTS / "gan/model.safetensors").read_bytes()
    files["/weights/gan/model.safetensors"] = right[:-1000] + bytes(1000)
    page = visit(server)
    sentence = "The weights of the GAN came damaged, or have changed since this page was opened. Load the page again."
    assert_fails(page, GAN, sentence)
    files["/weights/gan/model.safetensors"] = right
    decode(page, [GAN])


# An insecure context has no hashes and keeps nothing.
PLAIN = "Object.defineProperty(crypto, 'subtle', { value: undefined }); delete window.caches; delete Window.prototype.caches"


@pytest.mark.parametrize("script", ["", PLAIN], ids=["hashes", "no hashes"])
def test_a_file_that_changes_between_two_requests_is_not_mixed(visit, server, files, script):
    contents = [(WEIGHTS / f"{name}/model.safetensors").read_bytes() for name in ("autoencoder", "matched-autoencoder")]

    def changing(request):
        return contents[int(request.headers["Range"].startswith("bytes=0-") is False)]

    files["/weights/autoencoder/model.safetensors"] = changing
    entry = ABOUTS[1]
    assert_fails(visit(server, script), entry, "have changed since this page was opened. Load the page again.")


def test_another_part_than_was_asked_for_is_refused(visit, server):
    server.off = 5
    try:
        sentence = "The weights of the GAN cannot be loaded: the server sends another part of it, bytes 5-262143/"
        assert_fails(visit(server), GAN, sentence)
    finally:
        server.off = 0


# Connections that fail.


def test_what_fails_for_a_moment_is_tried_again(visit, server, files):
    """The runtime and the weights, each answered 503 once."""
    failed = set()

    def failing_once(request):
        if request.path in failed:
            return None  # The file.
        failed.add(request.path)
        request.send_error(503)
        return False

    paths = ["/front/kernel/kernel.wasm", "/weights/gan/model.safetensors"]
    files.update(dict.fromkeys(paths, failing_once))
    decode(visit(server), [GAN])
    assert {path.partition("?")[0] for path in failed} == set(paths)


def test_one_that_hangs_keeps_no_other_waiting_and_is_given_up(visit, server, files):
    waiting, hangs = threading.Event(), []

    def hanging(request):
        hangs.append(request.path)
        return not waiting.wait()

    files["/weights/attribute-gan/model.safetensors"] = hanging
    page = visit(server)
    page.clock.install()
    page.evaluate(
        """(abouts) => {
          window.decoder = new Decoder(modelsOf(abouts), location.href);
          const z = new Float32Array(100).fill(0.5);
          window.faces = decoder.decode("GAN", z);
          window.hung = said(decoder.decode("Attribute GAN", z));
        }""",
        [entry for entry in ABOUTS if entry["name"] in ("GAN", "Attribute GAN")],
    )
    assert page.evaluate("faces.then(({ length }) => length)") == 4 * 64 * 64
    assert page.evaluate("decoder.status.state") == "loading"
    for _ in range(3):
        page.clock.run_for(20_000)
    assert page.evaluate("hung") == "The weights of the Attribute GAN cannot be loaded: the server does not answer."
    assert len(hangs) == 3
    waiting.set()


def test_after_a_moment_offline_it_goes_on_by_itself(visit, server):
    page = visit(server)
    context = page.context
    page.evaluate(
        "(about) => { window.again = 0; window.decoder = new Decoder(modelsOf([about]), location.href);"
        " decoder.addEventListener('again', () => again++); }",
        GAN,
    )
    context.set_offline(True)
    complaint = page.evaluate("said(decoder.decode('GAN', new Float32Array(100)))")
    assert complaint.endswith("cannot be loaded: the server cannot be reached.")
    assert page.evaluate("[decoder.status.state, decoder.status.reason]") == ["failed", complaint]
    context.set_offline(False)
    page.wait_for_function("decoder.status.state === 'ready'")
    assert page.evaluate("[again, decoder.status.reason]") == [1, ""]


# What is decoded, when, and by which worker.


def test_networks_load_when_they_are_wanted_the_best_first(visit, server):
    page = visit(server)
    server.asked.clear()
    page.evaluate("(abouts) => { window.decoder = new Decoder(modelsOf(abouts), location.href); }", ABOUTS)
    assert page.evaluate("decoder.status.state") == "idle" and server.asked == []
    page.evaluate("decoder.want(['GAN', 'Perceptual autoencoder', 'Attribute GAN'])")
    page.wait_for_function("decoder.status.state === 'ready'")
    weights = [path.split("/")[2] for path in server.asked if path.startswith("/weights")]
    assert list(dict.fromkeys(weights)) == ["attribute-gan", "perceptual-autoencoder", "gan"]


# Notes what each worker is asked: [worker, name, whether it has to open it, faces]; and how many open something.
LISTEN = """
Object.defineProperty(navigator, "hardwareConcurrency", { value: 3 });
window.made = [];
window.asked = [];
window.opening = 0;
window.mostOpening = 0;
window.Worker = class extends Worker {
  constructor(...args) {
    super(...args);
    made.push(this);
    this.addEventListener("message", () => { opening -= this.isOpening; this.isOpening = false; });
  }
  postMessage(data) {
    if (data.name) {
      this.isOpening = !!data.opening;
      opening += this.isOpening;
      mostOpening = Math.max(opening, mostOpening);
      const z = data.question?.count ?? 0;
      asked.push([made.indexOf(this), data.name, this.isOpening, z]);
    }
    super.postMessage(data);
  }
};
"""
DECODER = """(abouts) => {
  window.decoder = new Decoder(modelsOf(abouts), location.href);
  window.latents = (count, seed) => decoder.models.get("GAN").sample(seed, count);
}"""


def test_only_workers_that_know_a_network_are_asked_and_the_others_learn_one_by_one(visit, server):
    page = visit(server, LISTEN)
    page.evaluate(DECODER, [GAN, ABOUTS[1]])
    thrice = "Promise.all([1, 2, 3].map((seed) => decoder.decode('GAN', latents(24, seed))))"
    first, *others = page.evaluate(f"{thrice}.then(() => asked.slice())")
    assert first == [0, "GAN", True, 0] and {(worker, opens) for worker, _, opens, _ in others} == {(0, False)}
    page.wait_for_function("asked.filter(([, , opens]) => opens).length === 3 && !opening")
    page.evaluate("(asked.length = 0, decoder.decode('GAN', latents(24, 4)))")
    assert sorted(page.evaluate("asked")) == [[worker, "GAN", False, 8] for worker in range(3)]
    page.evaluate("decoder.decode('Plain autoencoder', latents(1, 5))")
    page.wait_for_function("asked.filter(([, name, opens]) => opens && name !== 'GAN').length === 3 && !opening")
    assert page.evaluate("mostOpening") == 1


def test_the_newest_wins(visit, server):
    page = visit(server, LISTEN)
    page.evaluate(DECODER, [GAN])
    page.evaluate("decoder.decode('GAN', latents(1, 0))")
    outcomes, right, asked = page.evaluate(
        """async () => {
          asked.length = 0;
          const by = {}, seeds = [1, 2, 3, 4];
          const all = await Promise.all(seeds.map((seed) => decoder.decode("GAN", latents(2, seed), { by })));
          const other = await decoder.decode("GAN", latents(2, 4));
          return [all.map((faces) => faces && faces.length), text(all[3]) === text(other), asked];
        }"""
    )
    assert outcomes == [None, None, None, 2 * 4 * 64 * 64] and right
    assert len(asked) <= 2  # Those that were superseded before their turn were not computed.


def test_an_older_wish_is_over_at_once_though_its_network_hangs(visit, server, files):
    waiting = threading.Event()
    files["/weights/autoencoder/model.safetensors"] = lambda request: not waiting.wait()
    page = visit(server)
    page.evaluate(DECODER, [GAN, ABOUTS[1]])
    older, newer = page.evaluate(
        """async () => {
          const by = {}, older = decoder.decode("Plain autoencoder", latents(1, 0), { by });
          const newer = await decoder.decode("GAN", latents(1, 0), { by });
          return [await older, newer.length];
        }"""
    )
    assert older is None and newer == 4 * 64 * 64
    waiting.set()


def test_faces_that_were_decoded_are_not_decoded_again(visit, server):
    page = visit(server, LISTEN)
    page.evaluate(DECODER, [GAN])
    same, asked = page.evaluate(
        """async () => {
          const eight = await decoder.decode("GAN", latents(8, 1));
          asked.length = 0;
          const three = await decoder.decode("GAN", latents(3, 1)), twelve = await decoder.decode("GAN", latents(12, 1));
          const [first, middle] = [three, twelve.subarray(0, eight.length)];
          return [text(first) === text(eight.slice(0, first.length)) && text(middle.slice()) === text(eight), asked];
        }"""
    )
    assert same and sum(faces for *_, faces in asked) == 4


# The second of the workers answers that it has no memory.
ONE_TOO_MANY = f"""{LISTEN}
window.ended = [];
window.Worker = class extends Worker {{
  postMessage(data) {{
    if (data.name && this === made[1]) this.onmessage({{ data: {{ complaint: "out of memory", isMemory: true }} }});
    else super.postMessage(data);
  }}
  terminate() {{ ended.push(made.indexOf(this)); super.terminate(); }}
}};
"""


def test_a_worker_without_memory_leaves_the_work_to_the_others(visit, server):
    page = visit(server, ONE_TOO_MANY)
    page.evaluate(DECODER, [GAN])
    page.evaluate("decoder.decode('GAN', latents(1, 0))")
    page.wait_for_function("ended.length")
    page.evaluate("decoder.decode('GAN', latents(24, 1))")
    assert page.evaluate("[made.length, ended]") == [2, [1]]


def test_a_worker_that_dies_is_replaced(visit, server):
    page = visit(server, LISTEN)
    page.evaluate(DECODER, [GAN])
    page.evaluate("decoder.decode('GAN', latents(1, 0))")
    page.evaluate("made.forEach((worker) => worker.onerror())")
    assert page.evaluate("said(decoder.decode('GAN', latents(1, 1)))") != "nothing"
    assert page.evaluate("said(decoder.decode('GAN', latents(1, 1)))") == "nothing"


def test_any_graph_is_run(visit, server):
    """As photographs need it: with tensors of a model's weights."""
    model, x = MODELS["Plain autoencoder"], torch.rand(2, 3, 64, 64) * 2 - 1
    with torch.inference_mode():
        wanted = model.encode(x).numpy()
    shape, z = visit(server).evaluate(
        """async ([about, x]) => {
          const models = modelsOf([about]), decoder = new Decoder(models, location.href);
          const { weights } = models.get(about.name);
          const network = { name: "Encoder", graph: "graphs/autoencoder-encoder.onnx", weights };
          const { z } = await decoder.run(network, { x: { data: numbers(x), shape: [2, 3, 64, 64] } });
          return [z.shape, text(z.data)];
        }""",
        [ABOUTS[1], encoded(x)],
    )
    assert shape == [2, 100] and np.abs(array(z).reshape(shape) - wanted).max() < 1e-4
