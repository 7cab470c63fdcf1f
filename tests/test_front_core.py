"""What the page computes in the browser: its draws, latents and faces are those of the library."""

import base64
import hashlib
import json
from contextlib import ExitStack, contextmanager
from functools import partial

import numpy as np
import pytest
import safetensors.torch
import torch

from models import FaceModel, Generator
from models.images import denormalise
from page import labels, site
from page.catalog import MODELS
from page.front.kernel import export
from page.networks import load
from tests import shared_cases
from tests.conftest import WEIGHTS
from tests.in_browser import array, visiting

# What the tests call in the page, which is none: its modules alone.
HELPERS = """async () => {
  const [{ Decoder }, { Model }, draws, values] = await Promise.all(
    ["decoder", "models", "draws", "values"].map((name) => import(`/front/${name}.js`)),
  );
  const about = await (await fetch("/page.json")).json();
  values.setLimits(about.constants);
  const text = (array) => new Uint8Array(array.buffer).toBase64();
  const numbers = (text) => new Float32Array(Uint8Array.fromBase64(text).buffer);
  const modelOf = (about) => new Model(about, location.origin);
  const models = Object.fromEntries(about.models.map((about) => [about.name, modelOf(about)]));
  const decoder = new Decoder();
  const latents = (count, seed) => models.GAN.sample(seed, count);
  const decode = (name, count, seed, signal) => decoder.decode(models[name], latents(count, seed), signal);
  const said = (promise) => promise.then(() => "nothing", (error) => error.message);
  Object.assign(window, { Decoder, draws, values, text, numbers, modelOf, models, decoder, decode, said });
}"""


@contextmanager
def opened(chromium, url: str, script: str = ""):
    """A page with `HELPERS`, after a script."""
    with visiting(chromium, f"{url}health", lambda page: page.add_init_script(script)) as page:
        load_helpers(page)
        yield page


def load_helpers(page) -> None:
    page.evaluate(HELPERS)
    page.asked.clear()


@pytest.fixture
def visit(chromium, url):
    """A function that opens a page of its own."""
    with ExitStack() as stack:
        yield lambda script="": stack.enter_context(opened(chromium, url, script))


@pytest.fixture(scope="module")
def page(chromium, url):
    """A page for tests that leave nothing on it."""
    with opened(chromium, url) as page:
        yield page


def reload(page) -> None:
    page.reload()
    load_helpers(page)


def asked_for_weights(page) -> list[str]:
    """The folders of the models whose weights a page asked for."""
    return [address.split("/")[-2] for address in page.asked if "/weights/" in address]


@pytest.fixture(scope="module")
def abouts(url) -> dict[str, dict]:
    """The models' entries in page.json."""
    return {about["name"]: about for about in json.loads(site.page())["models"]}


def given(page, about: dict, file: bytes, name: str = "other") -> dict:
    """The entry of a model with another file of weights, which the page gets from here on."""
    page.route(f"**/weights/{name}/*", lambda route: route.fulfill(body=file))
    blocks = [hashlib.sha256(file[at : at + 2**18]).hexdigest() for at in range(0, len(file), 2**18)]
    weights = {"url": f"weights/{name}/model.safetensors?v=1", "size": len(file), "blocks": blocks}
    return {**about, "name": "Other", "weights": weights}


def encoded(z: torch.Tensor) -> str:
    return base64.b64encode(z.numpy().tobytes()).decode()


# Latents, and what links and people write.


def test_draws_are_numpys(page):
    seeds = [0, 1, 2**31, 2**32 - 1, *map(int, np.random.default_rng(5).integers(0, 2**32, 36))]
    drawn = page.evaluate(
        """(seeds) => Object.fromEntries(
          [["normals", 3000], ["uniforms", 501], ["doubles", 51]].map(([kind, count]) =>
            [kind, seeds.map((seed) => text(draws[kind](seed, count)))]))""",
        seeds,
    )
    rng = lambda seed, stream: np.random.default_rng([seed, stream])
    for seed, uniforms, doubles in zip(seeds, drawn["uniforms"], drawn["doubles"], strict=True):
        assert np.array_equal(array(uniforms), rng(seed, 2).random(501, dtype=np.float32))
        assert np.array_equal(array(doubles, np.float64), rng(seed, 3).random(51))
    normals = np.stack([array(text) for text in drawn["normals"]])
    expected = np.stack([rng(seed, 0).standard_normal(3000, dtype=np.float32) for seed in seeds])
    assert (np.abs(expected) > 3.6542).any()  # The tail is among them.
    # A logarithm there may round another way.
    assert np.abs(normals - expected).max() < 1e-6 and (normals != expected).sum() <= 5


SAMPLES = [(seed, {}) for seed in (0, 7, 123456, 2**32 - 1)] + [(7, {"mean": -100, "variance": 4}), (3, {"mean": 0.5})]
PATHS = [(way, discrete) for way in ("straight", "spherical") for discrete in ("relaxed", "switched", "held")]


@pytest.mark.parametrize("title", MODELS)
def test_latents_are_the_models(page, title):
    """Drawn, with attributes, with held bits, and on the way from one to another."""
    model, names = load(title), load(title).attributes
    values = {names[31]: 1, names[2]: -1, names[39]: 0.3} if names else {}
    bits = "".join("+-."[i % 3] for i in range(model.discrete_size))
    answer = page.evaluate(
        """async ([title, samples, values, bits, paths]) => {
          const model = models[title];
          await model.ready();
          const drawn = samples.map(([seed, moved]) => model.sample(seed, 20, moved));
          const [a, b] = [model.sample(1, 1), model.sample(2, 1)];
          const ways = paths.flatMap(([way, discrete]) =>
            [2, 11, 12].map((steps) => model.interpolate(a, b, steps, way, discrete)));
          const opposite = model.interpolate(a, a.map((x) => 2 * model.priorMean - x), 5, "spherical");
          const held = model.discreteSize ? [model.holdBits(drawn[0], bits)] : [];
          return [...drawn, model.withAttributes(drawn[0], values), ...ways, opposite, ...held].map(text);
        }""",
        [title, SAMPLES, values, bits, PATHS],
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
        assert np.allclose(array(text), latents.flatten().numpy(), rtol=3e-6, atol=3e-6)
    drawn = array(answer[0]).reshape(20, -1)
    assert np.array_equal(drawn[:, model.continuous_size :], z[0][:, model.continuous_size :].numpy())


@pytest.mark.parametrize("title", MODELS)
def test_main_directions_are_the_models(abouts, title):
    found = np.array(abouts[title]["main_directions"])
    assert np.abs(found - load(title).main_directions(6).numpy()).max() < 1e-3


def test_recipes_attributes_and_values_are_read_as_in_python(page):
    ask = lambda call, *arguments: page.evaluate(
        """([call, arguments]) => {
          try { return values[call](...arguments); } catch (error) { return error.message; }
        }""",
        [call, arguments],
    )
    fields = ("seed", "face", "temperature", "bits", "attributes")
    for text, wanted in shared_cases.RECIPES:
        found = ask("readRecipe", text)
        assert found == dict(zip(fields, wanted, strict=True))
        assert ask("readRecipe", ask("writeRecipe", found)) == found
    for text, sentence in shared_cases.NO_RECIPES:
        assert sentence in ask("readRecipe", text)
    model = {"best": shared_cases.NAMES, "discreteSize": 1}
    for line, wanted in shared_cases.LINES:
        assert ask("readAttributes", line, model) == {"values": wanted, "unknown": []}
        assert ask("writeAttributes", wanted) == labels.write(wanted)
    for item in shared_cases.NO_ITEMS:
        assert ask("readAttributes", item, model) == {"values": {}, "unknown": [item]}
    for bits, wanted in shared_cases.TEN_BITS:
        assert (ask("checkFits", {"discreteSize": 10, "best": []}, {"bits": bits}) or "") == wanted
    for control, value, wanted in shared_cases.VALUES:
        assert ask("check", control, str(value), "It") == wanted


# Faces.


def test_layers_are_what_the_command_writes(tmp_path):
    export.main(tmp_path / "decoders.json")
    assert (tmp_path / "decoders.json").read_text() == export.DECODERS.read_text()


def assert_decodes(page, about: dict, model: FaceModel) -> dict:
    """That the browser draws latents around several means as the model does; what it says of that."""
    z = torch.cat([model.sample_latent(4, 1, mean=mean) for mean in (0, -3, 100, -100)])
    answer = page.evaluate(
        """async ([about, z]) => {
          const decoder = new Decoder();
          return { faces: text(await decoder.decode(modelOf(about), numbers(z))), status: decoder.status };
        }""",
        [about, encoded(z)],
    )
    pixels = array(answer["faces"], np.uint8).reshape(-1, 64, 64, 4).astype(int)
    with torch.inference_mode():
        wanted = denormalise(model.decode(z)).permute(0, 2, 3, 1).numpy().astype(int)
    assert np.abs(pixels[..., :3] - wanted).max() <= 1 and (pixels[..., 3] == 255).all()
    return answer["status"]


# A browser without relaxed SIMD, that keeps nothing.
PLAIN = "delete window.caches; WebAssembly.validate = () => false;"


# The second two have every kind of layer.
@pytest.mark.parametrize(
    ("script", "titles"),
    [("", [*MODELS]), (PLAIN, ["Plain autoencoder", "Perceptual autoencoder"])],
    ids=["relaxed", "plain"],
)
def test_the_browser_decodes_as_the_models(visit, abouts, script, titles):
    page = visit(script)
    for title in titles:
        status = assert_decodes(page, abouts[title], load(title))
        assert status["state"] == "ready" and status["reason"] == ""
        assert status["loaded"] == status["total"] > 1e6


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_models_of_other_sizes_and_precisions_are_drawn(page, abouts, dtype):
    model = Generator(hidden_size=16).eval()
    tensors = model.state_dict().items()
    stored = {name: tensor.to(dtype) if tensor.is_floating_point() else tensor for name, tensor in tensors}
    model.load_state_dict({name: tensor.float() for name, tensor in stored.items()})
    assert_decodes(page, given(page, abouts["GAN"], safetensors.torch.save(stored), f"{dtype}"), model)


# Weights: in parts, checked, then kept.


def test_what_is_needed_is_loaded_once_until_it_changes(visit, url, abouts):
    page, sizes = visit(), []
    page.on(
        "response", lambda answer: "/weights/" in answer.url and sizes.append(int(answer.headers["content-length"]))
    )
    plain, matched = (abouts[title] for title in ("Plain autoencoder", "Matched autoencoder"))
    assert_decodes(page, plain, load("Plain autoencoder"))
    assert 4.6e6 < sum(sizes) < 4.6e6 + 2**18  # Half of the file.
    kept = "caches.open('latent-faces-weights').then((cache) => cache.keys()).then((all) => all.length)"
    before = page.evaluate(kept)
    reload(page)
    assert_decodes(page, plain, load("Plain autoencoder"))
    assert asked_for_weights(page) == []
    # Then another file is in its place.
    page.route("**/weights/autoencoder/*", lambda route: route.continue_(url=url + matched["weights"]["url"]))
    newer = {**matched["weights"], "url": "weights/autoencoder/model.safetensors?v=new"}
    assert_decodes(page, {**matched, "weights": newer}, load("Matched autoencoder"))
    assert page.evaluate(kept) == before > 0


def test_weights_that_were_damaged_where_they_are_kept_are_loaded_anew(visit, abouts):
    page = visit()
    assert_decodes(page, abouts["GAN"], load("GAN"))
    spoiled = page.evaluate(
        """async () => {
          const cache = await caches.open("latent-faces-weights"), keys = await cache.keys();
          for (const key of keys) {
            const bytes = new Uint8Array(await (await cache.match(key)).arrayBuffer());
            await cache.put(key, new Response(bytes.map((byte, i) => (i % 1000 ? byte : byte ^ 64))));
          }
          return keys.length;
        }"""
    )
    assert spoiled > 1
    for is_asked in (True, False):  # And are right after that.
        reload(page)
        assert_decodes(page, abouts["GAN"], load("GAN"))
        assert bool(asked_for_weights(page)) == is_asked


def assert_fails(page, entry: dict, sentence: str) -> None:
    """That a model cannot be had, and that this is said, also when it is asked for again."""
    answer = page.evaluate(
        """async (about) => {
          const decoder = new Decoder(), model = modelOf(about);
          const z = new Float32Array(about.latent_size).map((_, i) => Math.sin(i));
          const [first, last] = [await said(decoder.decode(model, z)), await said(decoder.decode(model, z))];
          return { first, last, status: decoder.status };
        }""",
        entry,
    )
    assert answer["status"]["state"] == "failed"
    for said in (answer["first"], answer["last"], answer["status"]["reason"]):
        assert sentence in said and said.endswith(".")


def damaged(how: str) -> bytes:
    """A file of the GAN's weights that cannot be used."""
    if how == "sizes":
        return safetensors.torch.save(Generator(hidden_size=10).state_dict())
    file = (WEIGHTS / "gan/model.safetensors").read_bytes()
    length = int.from_bytes(file[:8], "little")
    header = json.loads(file[8 : 8 + length])
    start, end = header["layers.1.0.weight"]["data_offsets"]
    if how == "numbers":
        return file[: 8 + length + start] + b"\xff" * (end - start) + file[8 + length + end :]
    header["layer"] = header.pop("layers.1.0.weight")
    text = json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + file[8 + length :]


@pytest.mark.parametrize(
    ("how", "sentence"),
    [
        ("numbers", "The Other cannot be run in this browser: layers.1.0.weight holds what is no number."),
        ("sizes", "The Other cannot be run in this browser: layers.1.0 is of 40 x 20, no multiples of 8."),
        ("name", "The weights of the Other lack layers.1.0.weight."),
    ],
    ids=lambda value: value.split()[0],
)
def test_a_damaged_file_is_no_model(page, abouts, how, sentence):
    assert_fails(page, given(page, abouts["GAN"], damaged(how), how), sentence)


CHANGED = "The weights of the GAN came damaged, or have changed since this page was opened. Load the page again."


@pytest.mark.parametrize(
    "spoiled",
    [lambda part, first: bytes(len(part)) if first else part, lambda part, _: part[:-1] + bytes([part[-1] ^ 64])],
    ids=["another file after the first part", "a bit"],
)
def test_weights_that_come_wrong_are_neither_used_nor_kept(visit, abouts, spoiled):
    page, file = visit(), (WEIGHTS / "gan/model.safetensors").read_bytes()

    def give_part(route) -> None:
        first, last = map(int, route.request.headers["range"].removeprefix("bytes=").split("-"))
        route.fulfill(status=206, body=spoiled(file[first : last + 1], first))

    page.route("**/weights/gan/*", give_part)
    assert_fails(page, abouts["GAN"], CHANGED)
    page.unroute_all()
    assert_decodes(page, abouts["GAN"], load("GAN"))


# Connections and browsers that fail.


def test_a_browser_without_webassembly_says_so(visit, abouts):
    page = visit("delete window.WebAssembly")
    assert_fails(page, abouts["GAN"], "so it shows only the pictures that came with the page.")


def test_a_model_that_cannot_be_had_is_a_sentence(page, abouts):
    nowhere = {**abouts["GAN"]["weights"], "url": "weights/nowhere/model.safetensors?v=1"}
    sentence = "The weights of the GAN cannot be loaded: the server answers 404."
    assert_fails(page, {**abouts["GAN"], "weights": nowhere}, sentence)
    statue = {**abouts["GAN"], "kind": "statue"}
    assert_fails(page, statue, "The GAN has layers that a browser cannot compute.")


def test_what_fails_for_a_moment_is_tried_again(visit, abouts):
    """The runtime and the weights, each answered 503 once."""
    page, failed = visit(), set()

    def fail_once(route) -> None:
        path = route.request.url.partition("?")[0]
        if path in failed:
            return route.continue_()
        failed.add(path)
        route.fulfill(status=503)

    for pattern in ("**/kernel-relaxed.wasm", "**/weights/gan/*"):
        page.route(pattern, fail_once)
    assert_decodes(page, abouts["GAN"], load("GAN"))
    assert len(failed) == 2


# What is decoded, when, and by which worker.


def test_networks_load_when_they_are_wanted_the_best_first(visit):
    page = visit()
    assert page.evaluate("decoder.status.state") == "idle" and page.asked == []
    page.evaluate("decoder.want(['GAN', 'Perceptual autoencoder', 'Attribute GAN'].map((name) => models[name]))")
    page.wait_for_function("decoder.status.state === 'ready'")
    assert list(dict.fromkeys(asked_for_weights(page))) == ["attribute-gan", "perceptual-autoencoder", "gan"]


# Notes what each worker is asked: [worker, name, whether it has to open it, faces, whether all others are idle].
LISTEN = """
Object.defineProperty(navigator, "hardwareConcurrency", { value: 3 });
Object.assign(window, { made: [], asked: [], answered: 0 });
window.Worker = class extends Worker {
  constructor(...args) {
    super(...args);
    made.push(this);
    this.addEventListener("message", () => (answered += 1));
  }
  postMessage(data) {
    const { name, opening, question } = data;
    if (name) asked.push([made.indexOf(this), name, !!opening, question?.count ?? 0, answered === asked.length]);
    super.postMessage(data);
  }
};
"""


def test_only_workers_that_know_a_network_are_asked_and_the_others_learn_one_by_one(visit):
    page = visit(LISTEN)
    thrice = "Promise.all([1, 2, 3].map((seed) => decode('GAN', 24, seed)))"
    first, *others = page.evaluate(f"{thrice}.then(() => asked.slice())")
    assert first[:4] == [0, "GAN", True, 0] and {(worker, opens) for worker, _, opens, *_ in others} == {(0, False)}
    learned = "asked.filter(([, , opens]) => opens).length === 3 && answered === asked.length"
    page.wait_for_function(learned)
    page.evaluate("(asked.length = answered = 0, said(decode('GAN', 24, 4)))")
    assert sorted(asked[:4] for asked in page.evaluate("asked")) == [[worker, "GAN", False, 8] for worker in range(3)]
    page.evaluate("said(decode('Plain autoencoder', 24, 5))")
    page.wait_for_function(learned)
    opened = [(name, faces, alone) for _, name, opens, faces, alone in page.evaluate("asked") if opens]
    assert opened == 3 * [("Plain autoencoder", 0, True)]


def test_what_is_wanted_no_longer_is_not_computed(visit):
    page = visit(LISTEN)
    outcomes, asked = page.evaluate(
        """async () => {
          await decode("GAN", 1, 0);
          asked.length = 0;
          const all = [1, 2, 3, 4].map((seed) => {
            const controller = new AbortController();
            const faces = decode("GAN", 2, seed, controller.signal);
            if (seed < 4) controller.abort();
            return faces.then((faces) => faces.length, ({ name }) => name);
          });
          return [await Promise.all(all), asked.slice()];
        }"""
    )
    assert outcomes == ["AbortError"] * 3 + [2 * 4 * 64 * 64] and len(asked) == 1


def test_a_worker_that_dies_is_replaced(visit):
    page = visit(LISTEN)
    page.evaluate("said(decode('GAN', 1, 0)).then(() => made[0].onerror())")
    assert page.evaluate("said(decode('GAN', 1, 2))") == "This browser cannot run the networks."
    assert page.evaluate("said(decode('GAN', 1, 3))") == "nothing"


def test_what_no_worker_can_run_is_not_tried_again_unasked(visit, abouts):
    page = visit(LISTEN)
    entry = given(page, abouts["GAN"], damaged("sizes"))
    page.evaluate("(about) => said(decoder.decode(modelOf(about), new Float32Array(100)))", entry)
    page.wait_for_timeout(1000)
    assert len(page.evaluate("asked")) == 1
