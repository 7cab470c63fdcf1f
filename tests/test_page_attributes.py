"""Attributes on the page: the line that says them, what they do to faces, and what a stranger calls them."""

import json
import math
import re

import numpy as np
import pytest
import torch

from models import AttributeGenerator, PerceptualAutoencoder
from models.index import repository_name
from page import drawing, labels, networks, site
from page.catalog import load_models
from page.recipe import Recipe, sample
from tests.markup import STRANGE_NAMES

GAN, AUTOENCODER = "Attribute GAN", "Perceptual autoencoder"


def model_of(*names: str) -> AttributeGenerator:
    return AttributeGenerator(12, 10, names, channels=(4, 4, 4, 4, 4))


NAMES = ("Smiling", "No_Beard", "5_o_Clock_Shadow", "Young")


@pytest.mark.parametrize(
    "line, values",
    [
        ("", {}),
        (" , ,", {}),
        ("Smiling", {"Smiling": 1}),
        ("smiling, no young", {"Smiling": 1, "Young": -1}),
        ("No beard", {"No_Beard": 1}),
        ("no No_Beard", {"No_Beard": -1}),
        ("no no beard", {"No_Beard": -1}),
        ("5 o clock shadow=0.25, Young = -1e-1", {"5_o_Clock_Shadow": 0.25, "Young": -0.1}),
        ("Smiling, no Smiling", {"Smiling": -1}),
        ('"Smiling","no Young"', {"Smiling": 1, "Young": -1}),
    ],
)
def test_a_line_of_attributes_is_read(line, values):
    assert labels.read(line, model_of(*NAMES)) == values
    assert labels.read(labels.write(values), model_of(*NAMES)) == values


def test_a_mapping_is_as_good_as_a_line():
    sent = {"Smiling": True, "Young": False, "5_o_Clock_Shadow": 0.5}
    for value in (sent, json.dumps(sent)):
        assert labels.line(value, "") == "Smiling, no Young, 5_o_Clock_Shadow=0.5"
    assert labels.line(None, "") == labels.line({}, "") == labels.line("{}", "") == ""


@pytest.mark.parametrize(
    "value, words",
    [
        ("Smilling", 'There is no attribute "Smilling": the closest are "Smiling"'),
        ("Smiling=2", 'The attribute "Smiling" cannot be 2: choose a number from -1 to 1.'),
        ("Smiling=nan", "cannot be NaN"),
        ("Smiling=very", 'cannot be "very"'),
        ({"Smiling": "yes"}, 'cannot be "yes"'),
        ({"Smiling": None}, "cannot be empty"),
        ({"Smiling": [1]}, "cannot be a list"),
        ({"Smiling": 10**400}, "cannot be a number that large"),
        (["Smiling"], "The attributes cannot be a list: write a line such as Smiling, no Eyeglasses."),
        (True, "cannot be true"),
        (7, "cannot be 7"),
        (10_001 * "a", "at most 10,000 characters"),
        ("a\x00", "one line of text"),
        ({"\ud800": True}, "one line of text"),
        ('{"a":' * 5000, "There is no attribute|at most 10,000"),
        (9_000 * '"', "There is no attribute"),
        (5000 * "a,", "There is no attribute"),
    ],
)
def test_what_is_no_attribute_is_told_in_a_sentence(value, words):
    with pytest.raises(ValueError) as told:
        labels.read(labels.line(value, "The attributes"), model_of(*NAMES))
    sentence = str(told.value)
    assert re.search(words, sentence) or words in sentence
    assert sentence.endswith(".") and len(sentence) < 300 and "\n" not in sentence


def test_every_name_that_a_line_can_hold_is_written_and_read():
    model = model_of(*STRANGE_NAMES[:10])
    names = labels.names_of(model)
    assert len(names) >= 6 and not {"a\nb", "\ud800", "\u202egnilims"} & set(names)
    values = {name: 1.0 if index % 2 else -1.0 for index, name in enumerate(names)}
    assert labels.read(labels.write(values), model) == values


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"[1]",
        b"null",
        b"\xff",
        50_000 * b"[",
        b'{"Smiling": {"area": 1' + 5000 * b"0" + b"}}",
        b" " * 1_000_001 + b"{}",
        b'{"Smiling": {"area": NaN}, "Young": {"area": "high"}, "Bald": {"area": true}, "Male": 7, "x": {"area": 1e999}}',
        b'{"Smiling": {}, "Young": {"area": null}, "Bald": {"area": -1}}',
    ],
)
def test_whatever_a_strangers_measurements_are_none_of_it_is_believed(tmp_path, content):
    (tmp_path / "attributes.json").write_bytes(content)
    assert labels.read_areas(tmp_path / "attributes.json") == {}


def test_what_works_best_comes_first(tmp_path):
    model_of(*NAMES).save_pretrained(tmp_path / "gan")
    areas = {"Young": {"area": 0.9}, "Smiling": {"area": 0.97, "moves": 3}, "Unknown": {"area": 1}}
    assert load_models(["gan"], tmp_path)["gan"].areas == {}
    (tmp_path / "gan/attributes.json").write_text(json.dumps(areas))
    loaded = load_models(["gan"], tmp_path)["gan"]
    order = labels.best_first(labels.names_of(loaded), loaded.areas)
    assert order == ["Smiling", "Young", "No_Beard", "5_o_Clock_Shadow"]


@pytest.fixture
def offered(hub, tmp_path):
    """A function that puts a model on the Hub in the place of a bundled one, and loads what a page would show."""
    model_of(*NAMES).save_pretrained(tmp_path / "bundled/gan")

    def load_what_is_shown(model: AttributeGenerator, measured: bytes | None = None):
        model.save_pretrained(tmp_path / "there")
        if measured is not None:
            (tmp_path / "there/attributes.json").write_bytes(measured)
        hub.add_folder("model", repository_name("tester", "gan"), tmp_path / "there")
        return load_models(["gan"], tmp_path / "bundled", "tester")["gan"]

    return load_what_is_shown


@pytest.mark.parametrize(
    "measured, areas", [(None, {}), (b"{", {}), (b'{"Bald": {"area": 0.75}, "Hat": {"area": [1]}}', {"Bald": 0.75})]
)
def test_a_model_of_the_hub_brings_its_own_attributes(offered, measured, areas):
    loaded = offered(model_of("Bald", "Hat"), measured)
    assert loaded.attributes == ("Bald", "Hat") and loaded.areas == areas
    assert "tester/latent-faces-gan" in loaded.origin


def test_a_model_of_the_hub_without_attributes_does_not_take_the_place_of_one_with_some(offered):
    loaded = offered(model_of())
    assert loaded.attributes == NAMES and "it knows 0 attributes, the bundled model 4" in loaded.origin


def test_directions_that_are_no_numbers_are_refused():
    model = PerceptualAutoencoder(12, (4, 4, 4, 4), (4, 4, 4, 4, 4), components=2, attributes=NAMES).eval()
    networks.check_draws(model)
    model.directions[1, 3] = math.inf
    with pytest.raises(ValueError, match="attributes are no numbers"):
        networks.check_draws(model)


def test_people_read_words():
    assert labels.title("Mouth_Slightly_Open") == "Mouth slightly open"
    assert labels.title("5_o_Clock_Shadow") == "5 o clock shadow"
    assert labels.title("___") == "___"


def test_a_recipe_carries_its_attributes():
    recipe = Recipe.parse("7/3 temperature=0.8 attributes=Smiling, no Young")
    assert recipe == Recipe(7, 3, 0.8, "", "Smiling, no Young") == Recipe.parse(str(recipe))
    model = networks.load(GAN)
    smiling, young = (model.continuous_size + model.attributes.index(name) for name in ("Smiling", "Young"))
    plain, z = Recipe(7, 3, 0.8).latent(model), recipe.latent(model)
    assert (z[smiling], z[young]) == (1, -1)
    assert (z != plain).nonzero().flatten().tolist() in ([], [smiling], [young], [smiling, young])
    with pytest.raises(ValueError, match="no attribute"):
        Recipe.parse("7/3 attributes=Smilling").latent(model)
    assert torch.equal(sample(networks.load("GAN"), 7, 2, attributes="Smiling"), sample(networks.load("GAN"), 7, 2))


def test_a_named_bit_is_flipped_beside_other_wishes():
    number = networks.load(GAN).attributes.index("Smiling") + 1
    off, on = drawing.flip_bit(GAN, 1, 4, 1.0, "", number, "no Young")
    for faces, wish in ((off, "no Smiling"), (on, "Smiling")):
        assert np.abs(faces.astype(int) - drawing.generate(GAN, 1, 4, 1.0, "", f"no Young, {wish}")).max() <= 1
    # Half on is neither.
    for one, two in zip(drawing.flip_bit(GAN, 1, 4, 1.0, "", number, "Smiling=0.5, no Young"), (off, on)):
        assert np.abs(one.astype(int) - two).max() <= 1


def test_a_photograph_moves_along_a_direction():
    seen = drawing.see(str(next(iter(site.examples().values()))))
    model, latent = networks.load(AUTOENCODER), seen.latents[AUTOENCODER]
    moved = drawing.with_attributes(seen.latents, {"Smiling": 1.5})
    assert moved.keys() == {AUTOENCODER}
    with torch.inference_mode():
        wanted = model.decode(latent + 1.5 * model.directions[model.attributes.index("Smiling")])
    shown = torch.from_numpy(moved[AUTOENCODER]).permute(2, 0, 1)
    assert (wanted[0].add(1).mul(127.5).clamp(0, 255) - shown).abs().max() <= 1.5
    still = drawing.with_attributes(seen.latents, {})[AUTOENCODER]
    assert np.abs(still.astype(int) - drawing.reconstruct(seen)[AUTOENCODER].face).max() <= 1
