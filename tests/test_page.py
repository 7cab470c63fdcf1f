"""What stands behind the page: recipes, pictures, sentences, and where the networks compute."""

import io
import sys
import types
from base64 import b64decode
from concurrent.futures import ThreadPoolExecutor

import httpx
import numpy as np
import pytest
import torch
from PIL import Image

from page import curves, pictures, story, zoo
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
    ],
)
def test_a_recipe_is_read_and_written(text, recipe):
    assert Recipe.parse(text) == recipe == Recipe.parse(str(recipe))


@pytest.mark.parametrize(
    "text", ["", "seven", "-1", "7/0", "7/65", "4294967296", "7 temperature=2.1", "7/3/4", "7 bits=x"]
)
def test_what_is_no_recipe_is_told(text):
    with pytest.raises(ValueError, match="is no face: "):
        Recipe.parse(text)


def test_a_recipe_makes_the_face_of_the_grid():
    bits = "." * 25 + "+" * 25
    model = zoo.load("GAN")
    z = sample(model, 7, 5, 0.8, bits)
    assert torch.equal(Recipe(7, 5, 0.8, bits).latent(model), z[4])
    assert (z[:, 75:] == 1).all() and not (z[:, 50:75] == 1).all()
    plain = sample(model, 7, 5)
    assert torch.allclose(z[:, :50], 0.8 * plain[:, :50]) and torch.equal(z[:, 50:75], plain[:, 50:75])


def test_the_diversity_is_the_one_of_the_report():
    faces = story.generate("GAN", 0, 12, 1.0, "")
    images = torch.from_numpy(faces).permute(0, 3, 1, 2)
    assert pictures.diversity(faces) == pytest.approx(scores.mean_distance(images) / images[0].numel() ** 0.5, rel=1e-4)
    assert pictures.diversity(np.repeat(faces[:1], 4, axis=0)) == pytest.approx(0, abs=1e-3)
    assert pictures.diversity(faces[:1]) == 0


def test_walks_go_there_and_back_without_loss_or_as_a_gif():
    faces = story.generate("GAN", 0, 5, 1.0, "")
    walk = Image.open(io.BytesIO(b64decode(pictures.moving_webp(faces).partition(",")[2])))
    assert walk.n_frames == 8
    for frame, face in zip(range(8), (0, 1, 2, 3, 4, 3, 2, 1)):
        walk.seek(frame)
        assert (np.asarray(walk.convert("RGB")) == faces[face]).all()
    gif = Image.open(io.BytesIO(pictures.gif(faces)))
    assert gif.n_frames == 8 and gif.size == (256, 256) and gif.info["loop"] == 0
    shown = np.asarray(gif.convert("RGB"))[::4, ::4].astype(int)
    assert np.abs(shown - faces[0]).mean() < 4


def test_the_sentence_sorts_the_models_by_what_is_seen():
    near = {name: story.out_of_distribution(name, 0, 0, 8) for name in zoo.MODELS}
    assert "the gan" not in story.in_words(0, near)
    assert "the GAN, the plain autoencoder and the matched autoencoder are within" in story.in_words(0, near)
    far = {name: story.out_of_distribution(name, 100, 0, 8) for name in zoo.MODELS}
    assert "the matched autoencoder" in story.in_words(100, far).partition("collapsed")[0]
    alone = story.in_words(-3, {"Shifted autoencoder": story.out_of_distribution("Shifted autoencoder", -3, 0, 8)})
    assert alone == "At mean -3, the shifted autoencoder is within two standard deviations of the prior."


def test_the_scale_runs_from_end_to_end_and_the_mark_moves_along_it():
    places = [curves.position(mean) for mean in (-100, -10, 0, 10, 100)]
    assert places[0] == 0 and places[2] == 0.5 and places[4] == 1 and places == sorted(places)
    here, there = curves.far_curve("GAN", 0), curves.far_curve("GAN", 50)
    assert here != there and here.partition('class="mark"')[0] == there.partition('class="mark"')[0]
    assert 0 <= curves.face_share("Matched autoencoder", 60) < 0.1 < curves.face_share("Matched autoencoder", 0) <= 1


def test_many_threads_get_their_own_faces():
    wanted = [story.generate("GAN", seed, 4, 1.0, "") for seed in range(8)]
    with ThreadPoolExecutor(8) as pool:
        for _ in range(3):
            got = pool.map(lambda seed: story.generate("GAN", seed, 4, 1.0, ""), range(8))
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
    monkeypatch.setattr(zoo, "GPU", "cpu")
    zoo.zero_gpu.cache_clear()
    try:
        many = story.generate("GAN", 0, 64, 1.0, "")
        assert [name for name, _ in lent] == ["GAN"]
        few = story.generate("GAN", 0, 63, 1.0, "")
        assert len(lent) == 1
    finally:
        zoo.zero_gpu.cache_clear()
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
