"""What stands behind the page: recipes, values, pictures, and where the networks compute."""

import io
import json
import math
import sys
import types
from concurrent.futures import ThreadPoolExecutor

import httpx
import numpy as np
import pytest
import torch
from PIL import Image

from page import drawing, networks, pictures, story, values
from page.recipe import Recipe, sample
from study import scores
from tests.serving import serving


@pytest.mark.parametrize(
    "text, recipe",
    [
        ("7", Recipe(7)),
        (" 7/3 ", Recipe(7, 3)),
        ("7/3 temperature=0.85", Recipe(7, 3, 0.85)),
        ("4294967295/64 temperature=2 bits=+-.", Recipe(2**32 - 1, 64, 2, "+-.")),
        ("7/3 temperature=0.12345678901234568", Recipe(7, 3, 0.12345678901234568)),
        ("7/3 temperature=1e-09", Recipe(7, 3, 1e-9)),
    ],
)
def test_a_recipe_is_read_and_written(text, recipe):
    assert Recipe.parse(text) == recipe == Recipe.parse(str(recipe))


@pytest.mark.parametrize(
    "text",
    ["", "seven", "-1", "7/0", "7/65", "4294967296", "7 temperature=2.1", "7 temperature=1-1", "7/3/4", "7 bits=x"],
)
def test_what_is_no_recipe_is_told(text):
    with pytest.raises(ValueError, match="is no face: "):
        Recipe.parse(text)


@pytest.mark.parametrize(
    "kind, value, limits, words",
    [
        (
            values.whole,
            None,
            (0, 2**32 - 1),
            "The seed cannot be empty: choose a whole number from 0 to 4,294,967,295.",
        ),
        (values.whole, 1.5, (1, 64), "cannot be 1.5: choose a whole number from 1 to 64."),
        (values.whole, 2**32, (0, 2**32 - 1), "cannot be 4,294,967,296:"),
        (values.whole, 10**400, (0, 9), "cannot be a number that large:"),
        (values.whole, True, (0, 9), "cannot be true:"),
        (values.whole, "7", (0, 9), 'cannot be "7":'),
        (values.whole, [7], (0, 9), "cannot be a list:"),
        (values.whole, {"a": 7}, (0, 9), "cannot be an object:"),
        (values.whole, math.inf, (0, 9), "cannot be infinite:"),
        (values.number, math.nan, (-100, 100), "cannot be NaN: choose a number from -100 to 100."),
        (values.number, 100.5, (-100, 100), "cannot be 100.5:"),
        (values.number, 1e9, (0, 2.0), "cannot be 1,000,000,000: choose a number from 0 to 2."),
        (values.choice, "VAE", (["GAN", "Plain"],), 'cannot be "VAE": choose GAN or Plain.'),
        (values.choice, ["GAN"], (["GAN", "Plain"],), "cannot be a list:"),
        (values.text, 7, (), "cannot be 7:"),
        (values.text, "a\x00b", (), 'cannot be "a?b":'),
        (values.text, "\ud800", (), 'cannot be "?":'),
        (values.text, 5000 * "a", (), "at most 1,200 characters"),
    ],
)
def test_each_kind_of_value_is_refused_in_a_sentence(kind, value, limits, words):
    with pytest.raises(ValueError) as told:
        kind(value, "The seed", *limits)
    assert words in str(told.value) and str(told.value).endswith(".") and len(str(told.value)) < 200


def test_the_ends_of_a_range_belong_to_it():
    assert values.whole(0, "", 0, 64) == 0 and values.whole(64.0, "", 0, 64) == 64
    assert type(values.whole(64.0, "", 0, 64)) is int
    assert values.number(-100, "", -100, 100) == -100 and values.text(None, "") == ""


def test_a_recipe_makes_the_face_of_the_grid():
    bits = "." * 25 + "+" * 25
    model = networks.load("GAN")
    z = sample(model, 7, 5, 0.8, bits)
    assert torch.equal(Recipe(7, 5, 0.8, bits).latent(model), z[4])
    assert (z[:, 75:] == 1).all() and not (z[:, 50:75] == 1).all()
    plain = sample(model, 7, 5)
    assert torch.allclose(z[:, :50], 0.8 * plain[:, :50]) and torch.equal(z[:, 50:75], plain[:, 50:75])


def test_the_diversity_is_the_one_of_the_report():
    faces = drawing.generate("GAN", 0, 12, 1.0, "")
    images = torch.from_numpy(faces).permute(0, 3, 1, 2)
    assert pictures.diversity(faces) == pytest.approx(scores.mean_distance(images) / images[0].numel() ** 0.5, rel=1e-4)
    assert pictures.diversity(np.repeat(faces[:1], 4, axis=0)) == pytest.approx(0, abs=1e-3)
    assert pictures.diversity(faces[:1]) == 0


def test_walks_go_there_and_back():
    faces = drawing.generate("GAN", 0, 5, 1.0, "")
    gif = Image.open(io.BytesIO(pictures.gif(faces)))
    assert gif.n_frames == 8 and gif.size == (256, 256) and gif.info["loop"] == 0
    for frame, face in zip(range(8), (0, 1, 2, 3, 4, 3, 2, 1)):
        gif.seek(frame)
        assert np.abs(np.asarray(gif.convert("RGB"))[::4, ::4].astype(int) - faces[face]).mean() < 4


def test_the_measured_share_of_faces_lies_between_those_that_were_measured():
    points = json.loads(story.MEASURED.read_text())["autoencoder"]
    near, far = points[10], points[11]
    between = story.face_share("Plain autoencoder", (near["mean"] + far["mean"]) / 2)
    assert between == pytest.approx((near["face_share"] + far["face_share"]) / 2)
    assert story.face_share("Plain autoencoder", near["mean"]) == near["face_share"]


def test_many_threads_get_their_own_faces():
    wanted = [drawing.generate("GAN", seed, 4, 1.0, "") for seed in range(8)]
    with ThreadPoolExecutor(8) as pool:
        for _ in range(3):
            got = pool.map(lambda seed: drawing.generate("GAN", seed, 4, 1.0, ""), range(8))
            for one, two in zip(wanted, got, strict=True):
                assert (one == two).all()


def test_a_zero_gpu_space_lends_its_gpu_to_large_batches_only(monkeypatch):
    lent = []

    def gpu(duration):
        def decorate(function):
            def call(*arguments):
                lent.append(arguments)
                return function(*arguments)

            return call

        return decorate

    monkeypatch.setenv("SPACES_ZERO_GPU", "true")
    monkeypatch.setitem(sys.modules, "spaces", types.SimpleNamespace(GPU=gpu))
    monkeypatch.setattr(networks, "GPU", "cpu")
    networks.zero_gpu.cache_clear()
    try:
        many = drawing.generate("GAN", 0, 64, 1.0, "")
        assert [name for name, _ in lent] == ["GAN"]
        few = drawing.generate("GAN", 0, 63, 1.0, "")
        assert len(lent) == 1
    finally:
        networks.zero_gpu.cache_clear()
    assert np.abs(many[:63].astype(int) - few).max() <= 2


WATCH = """
import os, sys

def watch(event, arguments):
    if event in ("socket.getaddrinfo", "socket.gethostbyname"):
        address = arguments[0]
    elif event == "socket.connect" and isinstance(arguments[1], tuple):
        address = arguments[1][0]
    else:
        return
    if address not in (None, "", "localhost", "127.0.0.1", "::1", "0.0.0.0"):
        with open(os.environ["ASKED"], "a") as file:
            file.write(f"{event} {address}\\n")

sys.addaudithook(watch)
"""


def test_the_server_asks_nothing_of_other_machines(tmp_path, monkeypatch):
    monkeypatch.delenv("GRADIO_ANALYTICS_ENABLED")
    (tmp_path / "sitecustomize.py").write_text(WATCH)
    asked = tmp_path / "asked"
    asked.touch()
    # As somebody has it who has set nothing.
    environment = {"PYTHONPATH": str(tmp_path), "ASKED": str(asked)}
    with serving(environment) as page:
        event = httpx.post(f"{page.url}gradio_api/call/generate", json={"data": ["GAN", 0, 2, 1, ""]}).json()[
            "event_id"
        ]
        assert "event: complete" in httpx.get(f"{page.url}gradio_api/call/generate/{event}").text
    assert asked.read_text() == ""


WATCH_IMPORTS = """
import os, sys

def watch(event, arguments):
    if event == "import" and arguments[0] in ("torch", "torchvision"):
        with open(os.environ["IMPORTED"], "a") as file:
            file.write(arguments[0] + " ")

sys.addaudithook(watch)
"""


def test_a_visit_needs_no_pytorch(tmp_path):
    """Until a program calls an endpoint that draws."""
    (tmp_path / "sitecustomize.py").write_text(WATCH_IMPORTS)
    imported = tmp_path / "imported"
    imported.touch()
    with (
        serving({"PYTHONPATH": str(tmp_path), "IMPORTED": str(imported)}) as page,
        httpx.Client(base_url=page.url, trust_env=False, timeout=60) as client,
    ):
        told = client.get("/page.json").json()
        model = told["models"][0]
        addresses = ["/", "/?view=api", "/config", "/front/main.js", f"/{told['examples'][0]['url']}"]
        for address in [*addresses, f"/{model['weights']['url']}", f"/{model['history']['sheet']}"]:
            assert client.get(address).status_code == 200
        trained = client.post("/gradio_api/run/training", json={"data": ["GAN", 1]})
        assert len(trained.json()["data"][0]) == 16
        assert imported.read_text() == ""
        drawn = client.post("/gradio_api/run/generate", json={"data": ["GAN", 0, 2, 1, ""]})
        assert len(drawn.json()["data"][0]) == 2
    assert "torch" in imported.read_text()
