"""What stands behind the page: recipes, pictures, sentences, and where the networks compute."""

import io
import json
import math
import sys
import types
from base64 import b64decode
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from html.parser import HTMLParser
from typing import NamedTuple

import httpx
import numpy as np
import pytest
import torch
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from models.history import load_history
from page import chart, curves, drawings, pictures, show, story, values, zoo
from page.recipe import Recipe, sample
from study import scores
from tests.conftest import draw_face
from tests.markup import EPOCHS, MARKUP, history_with, history_with_markup, unchecked
from tests.serving import serving


class Tag(NamedTuple):
    name: str
    attributes: dict[str, str]
    text: str


def tags(html: str) -> list[Tag]:
    """The tags of HTML as a browser finds them, each with the text that follows its opening."""
    found: list[Tag] = []

    class Parser(HTMLParser):
        def handle_starttag(self, tag, attributes):
            found.append(Tag(tag, dict(attributes), ""))

        def handle_data(self, data):
            if found:
                found[-1] = found[-1]._replace(text=found[-1].text + data)

    parser = Parser()
    parser.feed(str(html))
    parser.close()
    return found


def pixels(tag: Tag) -> np.ndarray:
    """Those of an image, (height, width, 3)."""
    return np.asarray(Image.open(io.BytesIO(b64decode(tag.attributes["src"].partition(",")[2]))).convert("RGB"))


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
    within = "the GAN, the plain autoencoder, the matched autoencoder, the attribute GAN and the perceptual autoencoder"
    assert f"{within} are within" in story.in_words(0, near)
    far = {name: story.out_of_distribution(name, 100, 0, 8) for name in zoo.MODELS}
    assert "the matched autoencoder" in story.in_words(100, far).partition("collapsed")[0]
    alone = story.in_words(-3, {"Shifted autoencoder": story.out_of_distribution("Shifted autoencoder", -3, 0, 8)})
    assert alone == "At mean -3, the shifted autoencoder is within two standard deviations of the prior."


def test_the_scale_runs_from_end_to_end_and_the_mark_moves_along_it():
    places = [curves.position(mean) for mean in (-100, -10, 0, 10, 100)]
    assert places[0] == 0 and places[2] == 0.5 and places[4] == 1 and places == sorted(places)
    here, there = curves.far_curve("GAN", 0), curves.far_curve("GAN", 50)
    assert here != there and here.partition('class="mark"')[0] == there.partition('class="mark"')[0]
    assert 0 <= curves.face_share("Plain autoencoder", 60) < 0.1 < curves.face_share("Plain autoencoder", 0) <= 1


def test_a_mean_at_which_faces_have_collapsed_is_called_so():
    """Against the mean distance of two faces, relative to that at the prior: below a quarter they have collapsed."""
    said_of_some = set()
    for mean in (-100, -30, -8, -3, 0, 3, 8, 30, 100):
        (html,) = drawings.moved(mean, 0, 8, drawings.ALL)
        sentence = next(tag.text for tag in tags(html) if tag.attributes.get("class") == "sentence")
        collapsed = [part for part in sentence.split(";") if "collapsed" in part]
        for name in zoo.MODELS:
            model = zoo.load(name)
            with torch.inference_mode():
                far, near = (
                    torch.pdist(model.decoder_layers(model.sample_latent(8, seed=0, mean=at)).flatten(1)).mean()
                    for at in (mean, model.prior_mean)
                )
            named = any(f"the {name[0].lower()}{name[1:]}".replace("gAN", "GAN") in part for part in collapsed)
            is_far = abs(mean - model.prior_mean) > 2 * model.prior_variance**0.5
            if abs(far / near - 0.25) > 0.01:  # The page measures faces of whole grey levels.
                assert named == (is_far and far / near < 0.25), f"{name} at {mean}: {sentence}"
            said_of_some.add(named)
    assert said_of_some == {True, False}


def test_the_numbers_beside_the_faces_are_those_of_the_model():
    (html,) = drawings.moved(17, 3, 4, "Shifted autoencoder")
    found = tags(html)
    assert "Shifted autoencoder: 100 numbers from N(-3, 2)" in [tag.text for tag in found]
    numbers = next(tag.text for tag in found if tag.attributes.get("class") == "numbers")
    assert numbers.startswith(f"{(17 + 3) / math.sqrt(2):.1f} standard deviations")


def test_the_strip_of_a_bit_is_labelled_as_it_is():
    bit, count = 7, drawings.FACES_WITH_A_BIT
    model = zoo.load("GAN")
    z = model.sample_latent(8, seed=3)[:count]
    with torch.inference_mode():
        wanted = []
        for value in (-1, 1):
            z[:, model.continuous_size + bit - 1] = value
            faces = model(z).add(1).mul(127.5).round().clamp(0, 255).permute(0, 2, 3, 1).numpy()
            wanted.append(np.concatenate(list(faces), axis=1))
    found = tags(drawings.generated("GAN", 3, 8, 1.0, "", 1, bit)[3])
    assert [tag.text for tag in found if tag.name == "span"] == ["bit 7 at -1", "bit 7 at +1", "difference x 3"]
    off, on, difference = (pixels(tag).astype(int) for tag in found if tag.name == "img")
    assert off.shape == (64, 64 * count, 3) and np.abs(wanted[0] - wanted[1]).mean() > 0.5
    assert np.abs(off - wanted[0]).max() <= 1 and np.abs(on - wanted[1]).max() <= 1
    assert np.abs(difference - (3 * np.abs(on - off)).clip(0, 255)).max() == 0
    sentence = next(tag.text for tag in found if tag.attributes.get("class") == "sentence")
    assert sentence == f"Bit 7 moves a pixel by {np.abs(on - off).mean():.1f} grey levels."


def test_the_switches_are_the_bits_of_the_face():
    found = tags(show.switches("+-+", ".-."))
    flips = [tag.attributes for tag in found if tag.attributes.get("data-action") == "flip"]
    locks = [tag.attributes for tag in found if tag.attributes.get("data-action") == "hold"]
    assert [flip["aria-pressed"] for flip in flips] == ["true", "false", "true"]
    assert [lock["aria-pressed"] for lock in locks] == ["false", "true", "false"]
    assert [flip["data-bit"] for flip in flips] == [lock["data-bit"] for lock in locks] == ["1", "2", "3"]
    z = zoo.load("GAN").sample_latent(2, seed=5)[1]
    assert story.bits_of("GAN", Recipe(5, 2)) == "".join("+" if value > 0 else "-" for value in z[50:])


def test_every_face_of_the_grid_carries_its_own_recipe():
    bits = "." * 49 + "+"
    html, named, switches, _ = drawings.generated("GAN", 3, 4, 0.8, bits, 2, 1)
    assert not named, "the bits of the plain GAN have no names"
    labels = [tag for tag in tags(html) if tag.name == "label"]
    images = [tag for tag in tags(html) if tag.name == "img"]
    radios = [tag.attributes for tag in tags(html) if tag.name == "input"]
    assert len(images) == 4
    for number, (label, image, radio) in enumerate(zip(labels, images, radios, strict=True), start=1):
        recipe = f"3/{number} temperature=0.8 bits={bits}"
        written = Image.open(io.BytesIO(b64decode(image.attributes["src"].partition(",")[2]))).info
        assert written[story.RECIPE_KEY] == label.attributes["data-recipe"] == recipe
        assert radio["value"] == str(number) and ("checked" in radio) == (number == 1)
        assert f"Face {number} of 4" in image.attributes["alt"]
        face = zoo.decode("GAN", Recipe.parse(recipe).latent(zoo.load("GAN"))[None])[0]
        assert np.abs(pixels(image).astype(int) - face).max() <= 1
    pressed = [tag.attributes["aria-pressed"] for tag in tags(switches) if tag.attributes.get("data-action") == "flip"]
    z = zoo.load("GAN").hold_bits(zoo.load("GAN").sample_latent(2, seed=3), bits)[1, 50:]
    assert pressed == [str(bool(value > 0)).lower() for value in z]


def points(html: str, colour: str) -> list[tuple[float, float]]:
    """The line of a colour, as x and y in the chart's own units."""
    line = next(tag for tag in tags(html) if tag.name == "polyline" and tag.attributes["class"] == colour)
    return [tuple(map(float, point.split(","))) for point in line.attributes["points"].split()]


def test_a_chart_stands_upright_and_runs_to_the_right():
    html = chart.mark(chart.draw("Spoken", {"blue": [(0, 0), (0.5, 1), (1, 0.25)]}, {0: "a", 1: "b"}, (0.25, 0.5)), 0.5)
    assert points(html, "blue") == [(8, 82), (150, 4), (292, 62.5)]  # Measured from the top left, 300 x 84.
    found = tags(html)
    assert [(tag.attributes["x"], tag.text) for tag in found if tag.name == "text"] == [("8.0", "a"), ("292.0", "b")]
    mark = next(tag.attributes for tag in found if tag.attributes.get("class") == "mark")
    assert mark["x1"] == mark["x2"] == "150.0"
    band = next(tag.attributes for tag in found if tag.name == "rect")
    assert (band["x"], band["width"]) == ("79.0", "71.0")


def test_the_curves_of_a_model_show_what_was_measured_of_it():
    measured = json.loads(curves.MEASURED.read_text())["matched-autoencoder"]
    html = curves.far_curve("Matched autoencoder", -10)
    for key, colour in {"pixel_diversity": "blue", "face_share": "red"}.items():
        line = points(html, colour)
        assert len(line) == len(measured) and line == sorted(line)
        highest = max(range(len(measured)), key=lambda index: measured[index][key])
        assert line[highest][1] == min(y for _, y in line), "the largest value lies highest"
        values = [point[key] for point in measured]
        heights = [-y for _, y in line]
        assert np.corrcoef(values, heights)[0, 1] > 0.99
    # The band is the prior's mean +- 2 standard deviations, on a scale that is even in asinh.
    band = next(tag.attributes for tag in tags(html) if tag.name == "rect")
    reach = 284 * math.asinh(2 * math.sqrt(2)) / math.asinh(100)
    assert float(band["width"]) == pytest.approx(reach, abs=0.1)
    assert float(band["x"]) == pytest.approx(150 - reach / 2, abs=0.1)


def test_the_losses_are_drawn_in_their_colours_with_a_mark_at_the_epoch(tmp_path):
    losses = {"step": [10, 20, 40], "generator_loss": [1.0, 3.0, 2.0], "discriminator_loss": [0.5, 0.25, 0.0]}
    history = load_history(history_with(tmp_path, losses=losses))
    assert curves.loss_names(history) == {"blue": "generator", "red": "discriminator"}
    html = curves.loss_curve(history, 10)
    blue, red = points(html, "blue"), points(html, "red")
    assert [x for x, _ in blue] == [x for x, _ in red] == [79, 150, 292]
    assert blue[1][1] < blue[2][1] < blue[0][1] < red[0][1] < red[1][1] < red[2][1] == 82
    mark = next(tag.attributes for tag in tags(html) if tag.attributes.get("class") == "mark")
    assert float(mark["x1"]) == pytest.approx(8 + 284 * 10 / EPOCHS, abs=0.1)


def with_history(monkeypatch, folder, load=load_history) -> None:
    loaded = {name: replace(model, history=load(folder)) for name, model in zoo.load_all().items()}
    monkeypatch.setattr(story, "load_all", lambda: loaded)


@pytest.mark.parametrize(
    "changes",
    [
        {"losses": {"step": [0, 0], "a": [0, 0]}},
        {"losses": {"step": [], "a": []}},
        {"losses": {"step": [1, 2]}},
        {"losses": {"step": [2, 1], "a": [1, 2]}},
        {"losses": {"step": [-1, 1], "a": [-1, -2]}},
        {"losses": {"step": [1, 2], "a": [None, None], "b": [1, 2]}},
        {"losses": {"step": [None, None], "a": [1, 2]}},
        {"losses": {"step": [1, 2], "a": ["1", "2"]}},
        {"losses": {"step": [1, 2], "a": [math.nan, math.inf]}},
        {"losses": {"step": [1e-308, 1e308], "a": [1e-308, 1e308]}},
        {"losses": {"step": [True, False], "a": [True, False]}},
        {"losses": {"step": [1], "a": [1], "b": [2], "c": [3], "d": [4]}},
        {"losses": {"step": [1, 2], "": [1, 2]}},
        {"epochs": float(EPOCHS)},
        {"epochs": EPOCHS - 0.5},
        {"epochs": 0, "measurements": {"epoch": []}},
        {"note": None},
        {"note": {"a": [1]}},
        {"note": 100_000 * "<"},
        {"losses": None},
        {"command": 7, "seconds": "long"},
    ],
    ids=lambda changes: json.dumps(changes)[:60],
)
def test_a_damaged_history_is_told_or_drawn_without_what_is_wrong(tmp_path, monkeypatch, changes):
    try:
        with_history(monkeypatch, history_with(tmp_path, **changes))
    except ValueError as error:
        assert "damaged" in str(error)
        return
    (html,) = drawings.training("GAN", 3)
    assert len([tag for tag in tags(html) if tag.name == "img"]) == 16
    assert f"After epoch 3 of {EPOCHS}." in html and len(html) < 400_000
    for tag in tags(html):
        if tag.name == "polyline":
            for x, y in points(html, tag.attributes["class"]):
                assert 0 <= x <= chart.WIDTH and 0 <= y <= chart.HEIGHT


def test_what_a_hub_says_is_text(tmp_path, monkeypatch):
    with pytest.raises(ValueError, match="damaged"):
        load_history(history_with_markup(tmp_path))
    with_history(monkeypatch, tmp_path, unchecked)
    (html,) = drawings.training("GAN", 3)
    assert {tag.name for tag in tags(html)} <= {"p", "span", "div", "figure", "img", "svg", "line", "polyline", "text"}
    assert all("planted" not in str(tag.attributes) for tag in tags(html))
    assert "0<img class=planted" in next(tag.text for tag in tags(html) if tag.attributes.get("class") == "key blue")
    html.encode()


@pytest.mark.parametrize(
    "html",
    [
        show.sentence(MARKUP),
        show.complaint(MARKUP),
        show.faces(np.zeros((1, 64, 64, 3), np.uint8), [MARKUP], captions=[MARKUP]),
        show.choice_of_faces(np.zeros((1, 64, 64, 3), np.uint8), [MARKUP], [{}], [MARKUP]),
        show.labelled_strips({MARKUP: np.zeros((1, 64, 64, 3), np.uint8)}),
        show.loop(np.zeros((2, 64, 64, 3), np.uint8), MARKUP),
        chart.mark(chart.draw(MARKUP, {MARKUP: []}, {0: MARKUP}), 0),
    ],
    ids=lambda html: html[:30],
)
def test_whatever_makes_html_takes_text_for_text(html):
    assert not {tag.name for tag in tags(html)} & {"b", "script", "textarea", "style"}
    assert all(
        tag.attributes.get("class") != "planted" and not any(name.startswith("on") for name in tag.attributes)
        for tag in tags(html)
    )
    html.encode()


def test_the_recipe_in_a_picture_is_no_markup(tmp_path):
    for text in (MARKUP.replace("\ud800", ""), "7/1 bits=+<b class=planted>"):
        information = PngInfo()
        information.add_itxt(story.RECIPE_KEY, text)
        information.add_itxt(story.MODEL_KEY, "Plain autoencoder")
        draw_face(1, (64, 64)).save(tmp_path / "face.png", pnginfo=information)
        html = "".join(
            drawings.path("Plain autoencoder", "0", "1", 2, "straight", "relaxed", str(tmp_path / "face.png"), None)
        )
        assert "planted" not in html


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
