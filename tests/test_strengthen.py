"""Stronger bits: what becomes of a model's faces, and that the least level is taken that does what is wanted."""

import json
import shutil
from pathlib import Path

import pytest
import torch

from models import AttributeGenerator, PerceptualAutoencoder, load
from study import strengthen, verdicts
from study.attributes import Judges
from study.strengthen import Bits, StrengthenSettings, least_level, pairs
from train import amend
from train.errors import TrainingError

WEIGHTS = Path(__file__).parent.parent / "weights"
NAMES = ("Smiling", "Young")


def small_model(seed: int = 0) -> AttributeGenerator:
    torch.manual_seed(seed)
    model = AttributeGenerator(6, 4, NAMES, channels=(4,) * 5).eval()
    for weight in model.parameters():
        if weight.ndim == 4:  # As DCGAN begins, so few channels draw grey.
            torch.nn.init.normal_(weight, 0, 0.4)
    return model


@pytest.fixture
def folder(tmp_path):
    """A small model's, with a card and a history."""
    model = small_model()
    model.crop = 0.9
    model.save_pretrained(tmp_path / "model")
    for name in ("README.md", "training.json"):
        shutil.copyfile(WEIGHTS / "attribute-gan" / name, tmp_path / "model" / name)
    return tmp_path / "model"


def arguments(celeba, folder, tmp_path, *more: str) -> list[str]:
    words = ["--dataset", celeba, "--cache-dir", tmp_path / "cache", "--model", folder, "--output", tmp_path / "out"]
    return [*map(str, words), "--held-out", "16", "--latents", "20", *more]


@torch.no_grad()
def test_a_stronger_bit_makes_the_faces_of_a_larger_number(tmp_path):
    model = small_model()
    stronger = model.strengthened({"Smiling": (-1, 2.5), "Young": (-2, 1)})
    z = model.sample_latent(30, seed=0)
    larger = z.clone()
    larger[:, 2][z[:, 2] > 0] = 2.5  # Two numbers come first.
    larger[:, 3][z[:, 3] < 0] = -2
    expected = model.decode(larger)
    assert not torch.allclose(expected, model.decode(z), atol=0.2)
    torch.testing.assert_close(stronger.decode(z), expected)
    assert torch.equal(stronger.sample_latent(30, seed=0), z)  # Bits are -1 and 1 as before.

    again = stronger.strengthened({"Smiling": (-1, 1.5)})
    larger[:, 2][z[:, 2] > 0] = -1 + 1.25 * 3.5  # 1.5 is five quarters of the way from -1 to 1.
    torch.testing.assert_close(again.decode(z), model.decode(larger))

    rest = stronger.strengthened({}, rest=0.8)
    fewer = torch.tensor([0.8, 0.8, 1, 1, 0.8, 0.8])  # The attributes' bits stay.
    larger = z * fewer
    larger[:, 2][z[:, 2] > 0] = 2.5
    larger[:, 3][z[:, 3] < 0] = -2
    torch.testing.assert_close(rest.decode(z), model.decode(larger))

    again.save_pretrained(tmp_path)
    torch.testing.assert_close(load(tmp_path).decode(z), again.decode(z))
    with pytest.raises(ValueError, match="there is no attribute 'Bald'"):
        model.strengthened({"Bald": (-1, 2)})
    with pytest.raises(ValueError, match="rest is nan"):
        model.strengthened({}, float("nan"))


@torch.no_grad()
def test_folders_from_before_the_affine_map_load(tmp_path):
    model = small_model()
    model.save_pretrained(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    assert config.pop("affine") is False
    (tmp_path / "config.json").write_text(json.dumps(config))
    z = model.sample_latent(3, seed=0)
    torch.testing.assert_close(load(tmp_path).decode(z), model.decode(z))


def test_an_affine_map_is_the_identity_at_first():
    model = AttributeGenerator(6, 4, NAMES, (4,) * 5, affine=True)
    x = torch.randn(5, 6)
    assert torch.equal(model.layers[0](x), x)


@pytest.mark.parametrize(
    "wanted, level",
    [(0.5, 1), (0.8, 1.5), (0.86, 1.8), (0.9, 2), (0.92, 2), (0.7, 1)],
)
def test_the_least_level_is_taken(wanted, level):
    """Of an area that grows by a fifth for each 1, up to 0.9 at a level of 2, the most: the least that is told apart."""
    found = least_level(lambda level: 0.5 + 0.2 * level + 1e-9, wanted, 2)
    assert level <= found + 1e-6 and found <= level + 1 / 32 + 1e-6


def test_what_can_be_told_apart_at_no_level_stays():
    assert least_level(lambda level: 0.5 + 0.19 * level, 0.92, 2) == 1
    assert least_level(lambda level: 0.5 + 0.1 * level, 0.65, 2) == pytest.approx(1.5, abs=1 / 32)


class Looks:
    """In place of judges: sees an attribute as the brightness of the whole picture."""

    names = NAMES

    def see(self, images):
        return images.float().mean((1, 2, 3))[:, None]

    def logits(self, seen):
        return seen.expand(-1, 2)


class Shades(torch.nn.Module):
    """In place of layers: a brightness that is the first number and, half as much, each bit."""

    def __init__(self):
        super().__init__()
        self.contrast = torch.nn.Parameter(torch.tensor(0.15), requires_grad=False)

    def forward(self, z):
        shades = self.contrast * (z[:, 0] + 0.5 * z[:, 2] + 0.5 * z[:, 3])
        return shades.clamp(-1, 1)[:, None, None, None].expand(-1, 3, 64, 64)


def bits_of(**settings) -> Bits:
    """Of a model of shades. Nine of ten faces are young, one of ten smiles."""
    model = small_model()
    model.attribute_bias.copy_(torch.tensor([-2.2, 2.2]))
    model.layers = torch.nn.Sequential(Shades())
    return Bits(model, Looks(), StrengthenSettings(model=Path("model"), latents=2000, **settings))


def area_of_shades(value: float, other: float = 1) -> float:
    """Under the ROC curve where a bit is told by a value against -1, and the other one's, of a tenth of the faces, is
    this against -1: on and off are normal numbers of variance 1, apart by half of what the bits are, and pairs of them
    differ by the other bit as often as one of the two faces has it and one has not."""
    apart, by_other = (value + 1) / 2, (other + 1) / 2
    area = lambda distance: torch.special.ndtr(torch.tensor(distance / 2**0.5)).item()
    return 0.82 * area(apart) + 0.09 * area(apart + by_other) + 0.09 * area(apart - by_other)


@pytest.mark.parametrize("name, sign, other, others", [("Smiling", 1, "Young", -1), ("Young", -1, "Smiling", 1)])
def test_the_rarer_value_becomes_as_strong_as_it_must(name, sign, other, others):
    """The stronger, the stronger another bit is, which disturbs."""
    bits = bits_of(area=0.86, moved=10)
    alone, beside = (bits.level(name, {other: others * strength}) for strength in (1, 3))
    assert area_of_shades(sign * alone) == pytest.approx(0.86, abs=0.02)
    assert area_of_shades(sign * beside, 3) == pytest.approx(0.86, abs=0.02)
    assert sign * beside > sign * alone + 0.2
    assert bits.area(name, {name: beside, other: others * 3}) == pytest.approx(0.86, abs=0.01)
    assert bits.area(name, {}) == pytest.approx(area_of_shades(1), abs=0.02)
    assert pairs({name: beside}) == {name: (-1, beside) if sign > 0 else (beside, 1)}


def test_faces_move_no_more_than_is_allowed_and_a_bit_that_gains_nothing_by_it_stays():
    # A tenth of the faces: 0.25 on average lets 1 become 3.5, and tells nothing apart below.
    assert bits_of(area=0.95, most=10, moved=0.25).level("Smiling", {}) == pytest.approx(3.5, abs=0.25)
    assert bits_of(area=0.95, most=10, moved=0.05).level("Smiling", {}) == 1
    assert bits_of(area=0.95, most=1, moved=10).level("Smiling", {}) == 1


def test_the_command(celeba, folder, tmp_path, capsys, monkeypatch):
    # The first round finds 1.6, the second 2, knowing of the first's.
    monkeypatch.setattr(Bits, "level", lambda self, name, levels: 2.0 if levels == {"Smiling": 1.6} else 1.6)
    monkeypatch.setattr(Bits, "area", lambda self, name, levels: 0.95 if levels == {"Smiling": 2} else 0.8)
    monkeypatch.setattr(verdicts, "WORKS", 0)
    strengthen.main(arguments(celeba, folder, tmp_path))
    model, stronger = load(folder), load(tmp_path / "out")
    z = model.sample_latent(10, seed=1)
    expected = model.strengthened({"Smiling": (-1, 2)})  # Young has no labels.
    torch.testing.assert_close(stronger.decode(z), expected.decode(z), atol=0.03, rtol=0)
    assert (expected.decode(z) - model.decode(z)).abs().max() > 0.2
    assert stronger.crop == 0.9
    card = (tmp_path / "out/README.md").read_text()
    assert "| Smiling | +2.00 | 0.80 | 0.95 |" in card and "python -m study.strengthen --" in card
    assert "## Scores" not in card and "## Use and limits" in card
    note = json.loads((tmp_path / "out/training.json").read_text())["note"]
    assert "python -m study.strengthen --dataset path/to/" in note and str(tmp_path) not in note + card
    assert "Bits that are stronger now: 1, weaker: 0." in capsys.readouterr().out


def test_a_whole_run_finds_no_more_than_is_there(celeba, folder, tmp_path, capsys, monkeypatch):
    """Of a model of noise no bit can be made to say anything."""
    monkeypatch.setattr(verdicts, "WORKS", 0)
    strengthen.main(arguments(celeba, folder, tmp_path, "--most", "1.01"))
    printed = capsys.readouterr().out
    assert "Smiling" in printed and "Young" not in printed and "Bits that are stronger now: 0, weaker: 0." in printed
    z = load(folder).sample_latent(4, seed=0)
    torch.testing.assert_close(load(tmp_path / "out").decode(z), load(folder).decode(z), atol=0.03, rtol=0)


@pytest.mark.parametrize(
    "level, becomes, count",
    [
        ("Smiling=2.5", (-1, 2.5), "stronger now: 1, weaker: 0"),
        ("Smiling=-0.5", (-0.5, 1), "stronger now: 0, weaker: 1"),
    ],
)
def test_levels_given_by_hand_are_what_becomes_of_the_bits(celeba, folder, tmp_path, capsys, level, becomes, count):
    by_hand = ("--rounds", "0", "--levels", level, "--rest", "0.8")
    strengthen.main(arguments(celeba, folder, tmp_path, *by_hand))
    model, z = load(folder), load(folder).sample_latent(10, seed=1)
    expected = model.strengthened({"Smiling": becomes}, rest=0.8).decode(z)
    torch.testing.assert_close(load(tmp_path / "out").decode(z), expected, atol=0.03, rtol=0)
    assert f"--levels {level} --rest 0.8" in (tmp_path / "out/README.md").read_text()
    printed = capsys.readouterr().out
    assert f"at {float(level.removeprefix('Smiling=')):+.2f}" in printed and count in printed


@pytest.mark.parametrize(
    "wrong, said",
    [
        (["--latents", "1"], "--latents is 1"),
        (["--area", "1.1"], "--area is 1.1"),
        (["--most", "0.5"], "--most is 0.5"),
        (["--rounds", "-1"], "--rounds is -1"),
        (["--levels", "Smiling"], "--levels Smiling: give a name and a number, as in Bald=2.5"),
        (["--levels", "Smiling=0"], "--levels Smiling is 0.0"),
        (["--levels", "Smiling=nan"], "--levels Smiling is nan"),
        (["--levels", "Smiling=2", "Bald=2"], "no bit is called Bald: "),
        (["--levels", "Smiling=2", "Young=2"], "its faces have no labels of Young"),
        (["--rest", "-1"], "--rest is -1"),
        (["--moved", "-1"], "--moved is -1.0"),
        (["--training-faces", "3"], "--training-faces is 3"),
        (["--attributes", "Bald"], "no bit is called Bald: "),
        (["--attributes", "Young"], "its faces have no labels of Young"),
        (["--model", "nowhere"], "nowhere"),
        (["--model", str(WEIGHTS / "gan")], "has no bits with names: give an attribute GAN"),
        (["--output", "."], "--output . holds something already: name another folder"),
    ],
)
def test_what_cannot_be_done_is_said(wrong, said, celeba, folder, tmp_path):
    with pytest.raises(TrainingError) as error:
        strengthen.main(arguments(celeba, folder, tmp_path, *wrong))
    assert said in str(error.value) and not [*tmp_path.glob("out/*")]


def test_other_models_and_faces_without_its_labels_are_refused(celeba, folder, tmp_path):
    PerceptualAutoencoder(6, (4,) * 4, (4,) * 5, 2, NAMES).save_pretrained(tmp_path / "autoencoder")
    with pytest.raises(TrainingError, match="has no bits with names"):
        strengthen.main(arguments(celeba, tmp_path / "autoencoder", tmp_path))
    AttributeGenerator(6, 4, ("Winking",), (4,) * 5).save_pretrained(tmp_path / "winking")
    with pytest.raises(TrainingError, match="its faces have no labels of Winking"):
        strengthen.main(arguments(celeba, tmp_path / "winking", tmp_path))


def test_a_damaged_card_is_told_before_any_work(celeba, folder, tmp_path, monkeypatch):
    monkeypatch.setattr(Judges, "learn", None)
    (folder / "README.md").write_bytes(b"---\n: [\n---\n\xff")
    with pytest.raises(TrainingError, match="its card or history is damaged"):
        strengthen.main(arguments(celeba, folder, tmp_path))


def test_a_card_has_the_new_section_before_its_limits(folder):
    card = amend.texts(folder, "## Something\n\nWas done.\n", "Done.")["README.md"]
    assert "\n\n## Something\n\nWas done.\n\n## Use and limits" in card
