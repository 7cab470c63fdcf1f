"""Attributes on the page: the line that says them, the switches, the sliders, and what a stranger calls them."""

import json
import math
import re
import shutil

import numpy as np
import pytest
import torch

from models import AttributeGenerator, PerceptualAutoencoder
from models.index import repository_name
from page import drawings, labels, screen, story, zoo
from page.hub import _check_fits, load_models
from page.recipe import Recipe, sample
from tests.markup import STRANGE_NAMES, models_with_markup
from tests.test_page import tags

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
    order = labels.best_first(labels.names_of(loaded.model), loaded.areas)
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
    assert loaded.model.attributes == ("Bald", "Hat") and loaded.areas == areas
    assert "tester/latent-faces-gan" in loaded.origin


def test_a_model_of_the_hub_without_attributes_does_not_take_the_place_of_one_with_some(offered):
    loaded = offered(model_of())
    assert loaded.model.attributes == NAMES and "it knows 0 attributes, the bundled model 4" in loaded.origin


def test_directions_that_are_no_numbers_are_refused():
    model = PerceptualAutoencoder(12, (4, 4, 4, 4), (4, 4, 4, 4, 4), components=2, attributes=NAMES).eval()
    _check_fits(model, model)
    model.directions[1, 3] = math.inf
    with pytest.raises(ValueError, match="attributes are no numbers"):
        _check_fits(model, model)


def test_people_read_words():
    assert labels.title("Mouth_Slightly_Open") == "Mouth slightly open"
    assert labels.title("5_o_Clock_Shadow") == "5 o clock shadow"
    assert labels.title("___") == "___"


def test_a_recipe_carries_its_attributes():
    recipe = Recipe.parse("7/3 temperature=0.8 attributes=Smiling, no Young")
    assert recipe == Recipe(7, 3, 0.8, "", "Smiling, no Young") == Recipe.parse(str(recipe))
    model = zoo.load(GAN)
    smiling, young = (model.continuous_size + model.attributes.index(name) for name in ("Smiling", "Young"))
    plain, z = Recipe(7, 3, 0.8).latent(model), recipe.latent(model)
    assert (z[smiling], z[young]) == (1, -1)
    assert (z != plain).nonzero().flatten().tolist() in ([], [smiling], [young], [smiling, young])
    with pytest.raises(ValueError, match="no attribute"):
        Recipe.parse("7/3 attributes=Smilling").latent(model)
    assert torch.equal(sample(zoo.load("GAN"), 7, 2, attributes="Smiling"), sample(zoo.load("GAN"), 7, 2))


@pytest.mark.parametrize("model", [GAN, AUTOENCODER])
def test_the_code_that_is_shown_draws_the_faces_that_are_shown(model):
    values = {"Smiling": 1.0, "Eyeglasses": -1.0, "Young": 0.5}
    (code,) = (
        tag.text
        for tag in tags(drawings.generated(model, 3, 4, 0.8, "", 1, 1, labels.write(values))[1])
        if tag.name == "code"
    )
    faces = np.stack([np.asarray(face) for face in eval(code, {"model": zoo.load(model)})])
    shown = story.generate(model, 3, 4, 0.8, "", labels.write(values))
    assert np.abs(faces.astype(int) - shown).max() <= 1
    assert np.abs(shown.astype(int) - story.generate(model, 3, 4, 0.8)).mean() > 0.1


def sides(html: str) -> dict[str, str]:
    """Of each side of each switch whether it is pressed, by how it is read aloud."""
    return {
        tag.attributes["aria-label"]: tag.attributes["aria-pressed"]
        for tag in tags(html)
        if "data-item" in tag.attributes
    }


def test_the_switches_show_what_is_set_by_name_and_by_bit():
    model = zoo.load(GAN)
    bits = ["."] * model.discrete_size
    bits[model.attributes.index("Young")], bits[model.attributes.index("Male")] = "+", "+"
    html = drawings.generated(GAN, 0, 2, 1.0, "".join(bits), 1, 1, "smiling, no Male")[1]
    pressed = {name for name, on in sides(html).items() if on == "true"}
    assert pressed == {"Smiling: on", "Young: on", "Male: off"} and len(sides(html)) == 2 * len(model.attributes)
    assert "judgements of taste" in html and "annotators" in html
    details = html.partition("<details>")
    assert len(sides(details[0])) == 2 * labels.BEST and "<details open" not in html
    assert list(dict.fromkeys(name.rpartition(":")[0] for name in sides(html))) == [
        labels.title(name) for name in zoo.attributes_of(GAN)
    ]


def test_only_bits_without_a_name_are_numbered():
    model = zoo.load(GAN)
    html = drawings.generated(GAN, 0, 2, 1.0, "", 2, 1)[2]
    numbers = [tag.attributes["data-bit"] for tag in tags(html) if tag.attributes.get("data-action") == "flip"]
    assert numbers == [str(number) for number in range(len(model.attributes) + 1, model.discrete_size + 1)]
    (whole,) = (tag.attributes["data-bits"] for tag in tags(html) if "data-bits" in tag.attributes)
    assert whole == story.bits_of(GAN, Recipe(0, 2)) and len(whole) == model.discrete_size


def test_what_one_bit_changes_is_called_by_its_name():
    model = zoo.load(GAN)
    number = model.attributes.index("Smiling") + 1
    html = drawings.generated(GAN, 1, 4, 1.0, "", 1, number, "no Young")[3]
    assert "Smiling: off" in html and "Smiling: on" in html and f"Bit {number}, Smiling, moves a pixel" in html
    off, on = story.flip_bit(GAN, 1, 4, 1.0, "", number, "no Young")
    for faces, wish in ((off, "no Smiling"), (on, "Smiling")):
        assert np.abs(faces.astype(int) - story.generate(GAN, 1, 4, 1.0, "", f"no Young, {wish}")).max() <= 1
    # Half on is neither.
    for one, two in zip(story.flip_bit(GAN, 1, 4, 1.0, "", number, "Smiling=0.5, no Young"), (off, on)):
        assert np.abs(one.astype(int) - two).max() <= 1


def test_an_attribute_that_the_model_lacks_is_told_beside_the_faces():
    faces, named, *_ = drawings.generated(GAN, 0, 2, 1.0, "", 1, 1, "Smiling, Winged<b>")
    assert "attribute GAN knows no Winged&lt;b&gt;." in named and faces.count("<img") == 2
    assert sides(named)["Smiling: on"] == "true"
    assert "no Winged" not in "".join(drawings.generated("GAN", 0, 2, 1.0, "", 1, 1, "Winged"))


def test_a_slider_moves_the_photograph_along_its_direction():
    path = next(iter(drawings.EXAMPLES.values()))
    _, results = story.reconstruct(path)
    model, latent = zoo.load(AUTOENCODER), results[AUTOENCODER].latent
    moved = story.with_attributes(results, {"Smiling": 1.5})
    assert moved.keys() == {AUTOENCODER}
    with torch.inference_mode():
        wanted = model.decode(latent + 1.5 * model.directions[model.attributes.index("Smiling")])
    shown = torch.from_numpy(moved[AUTOENCODER]).permute(2, 0, 1)
    assert (wanted[0].add(1).mul(127.5).clamp(0, 255) - shown).abs().max() <= 1.5
    still = story.with_attributes(results, {})[AUTOENCODER]
    assert np.abs(still.astype(int) - results[AUTOENCODER].faces[0]).max() <= 1

    values = [1.5 if name == "Smiling" else 0 for name in zoo.directions()]
    seen, others = drawings.reconstructions(*values, None)
    assert seen.count("<img") == 2 and "Perceptual autoencoder, moved" in seen
    assert others == drawings.reconstructions(*[0] * len(values), None)[1]


def test_a_photograph_is_looked_at_once(tmp_path, monkeypatch):
    path = tmp_path / "face.png"
    shutil.copy(next(iter(drawings.EXAMPLES.values())), path)
    assert not story.is_remembered(str(path))
    first = story.reconstruct(str(path))
    monkeypatch.setattr(story, "align", None)
    assert story.is_remembered(str(path)) and story.reconstruct(str(path)) is first
    for number in range(story._MOST_REMEMBERED):
        story._REMEMBERED[f"other {number}"] = first
    monkeypatch.undo()
    story.reconstruct(next(iter(drawings.EXAMPLES.values())))
    (tmp_path / "other.png").write_bytes(path.read_bytes())
    story.reconstruct(str(tmp_path / "other.png"))
    assert not story.is_remembered(str(path)) and len(story._REMEMBERED) <= story._MOST_REMEMBERED
    story._REMEMBERED.clear()


def test_the_attributes_of_a_stranger_are_text(tmp_path, monkeypatch):
    models = models_with_markup(tmp_path)
    monkeypatch.setattr(zoo, "load_all", lambda: models)
    for name in (GAN, AUTOENCODER):
        values = dict.fromkeys(labels.names_of(zoo.load(name))[:4], 1.0)
        for html in drawings.generated(name, 987_654, 2, 1.0, "", 1, 2, labels.write(values)):
            html.encode()
            for tag in tags(html):
                assert tag.name not in ("b", "script", "svg", "textarea", "style")
                assert tag.attributes.get("class") != "planted" and not any(key[:2] == "on" for key in tag.attributes)
    import app

    page = app.build()
    try:
        heads = [block.head for block in page.blocks.values() if getattr(block, "head", None)]
        assert sum(head.count("<script") for head in heads) == sum(head.count("</script>") for head in heads) == 1
    finally:
        page.close()
    drawings.faces_of.cache_clear(), drawings.effect_of.cache_clear(), story.generate.cache_clear()


def test_a_link_that_sets_a_slider_beyond_its_range_is_told():
    import app

    page = app.build()
    name = labels.title(zoo.directions()[0])
    sliders = [block for block in page.blocks.values() if getattr(block, "label", "") == name]
    assert [(slider.minimum, slider.maximum) for slider in sliders] == [(-3, 3)]
    with pytest.raises(ValueError, match="from -3 to 3"):
        screen.check(sliders[0], 4, "The attribute")
    page.close()
