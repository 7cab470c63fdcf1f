"""What is said of named attributes: exact for models whose bits do what the test says."""

import importlib
import json

import datasets
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from datasets import Dataset, Features, Value
from PIL import Image
from scipy.optimize import minimize

from models import AttributeGenerator, Generator, PerceptualAutoencoder
from models.images import denormalise
from study import attributes
from study.attributes import Judges
from study.evaluate import ComparisonSettings, RealFaces
from tests.conftest import WEIGHTS, draw_face, encode
from train.settings import TrainingError

NETWORKS = ("efficientnet-lite0", "age-resnet")

# Of the painted models: the second is not there in their faces, the third paints the first's quarter too, half as
# much, and the labels of the last are drawn without looking at the faces.
NAMES = ("Painted", "Idle", "Leaky", "Unseen")
QUARTERS = {
    "Painted": (slice(0, 32), slice(0, 32)),
    "Idle": (slice(32, 64), slice(0, 32)),
    "Leaky": (slice(0, 32), slice(32, 64)),
}
GREEN = 0.3
BITS = {"Painted": {"Painted": 1.0}, "Leaky": {"Leaky": 1.0, "Painted": 0.5}}


def paint(z: torch.Tensor, painted: dict[str, dict[str, float]]) -> torch.Tensor:
    """Faces in one shade each, its first number's; each bit paints quarters green, or takes as much away."""
    x = 0.1 * z[:, 0].clamp(-3, 3)[:, None, None, None].expand(-1, 3, 64, 64).clone()
    for bit, name in enumerate(NAMES, start=2):
        for quarter, strength in painted.get(name, {}).items():
            x[:, 1, *QUARTERS[quarter]] += strength * GREEN * z[:, bit, None, None]
    return x


def see_means(images: torch.Tensor, network: str) -> torch.Tensor:
    """In place of networks: the colours of 16 squares, and the shades of 256."""
    x = images.float()
    return (F.avg_pool2d(x, 16) if network == NETWORKS[0] else F.avg_pool2d(x.mean(1, keepdim=True), 4)).flatten(1)


def figure(mean: float) -> dict:
    return {"mean": mean, "interval": 0.02}


def learn(
    labels: dict[str, np.ndarray], seen: torch.Tensor, count: int, networks: tuple[str, ...] = NETWORKS
) -> Judges:
    """Regressions that learn from the first `count` of faces with these features, and are measured on the others."""
    real = RealFaces(torch.empty(0), torch.empty(0))
    parts = dict(zip(networks, seen.tensor_split([48], dim=1)))
    object.__setattr__(real, "train_features", lambda network: parts[network][:count])
    object.__setattr__(real, "held_out_features", lambda network: parts[network][count:])
    return Judges.learn({name: (on[:count], on[count:]) for name, on in labels.items()}, networks, real)


@pytest.fixture
def model(monkeypatch):
    monkeypatch.setattr(attributes, "extract", see_means)
    model = AttributeGenerator(7, 5, NAMES, channels=(2, 2, 2, 2, 2)).eval()
    model.decode = lambda z: paint(z, BITS)
    return model


@pytest.fixture
def judges(model):
    """From 300 real faces, and as many held out, in which every attribute but the last is seen in a quarter of its own."""
    z = model.sample_latent(600, seed=1)
    faces = paint(z, {name: {name: 1.0} for name in QUARTERS})
    faces += 0.02 * torch.randn(faces.shape, generator=torch.Generator().manual_seed(0))
    pictures = denormalise(faces)
    seen = torch.cat([see_means(pictures, network) for network in NETWORKS], dim=1)
    labels = dict(zip(NAMES, z[:, 2:6].T.numpy() > 0))
    labels["Unseen"] = np.random.default_rng(0).random(600) < 0.5
    return learn(labels, seen, 300)


def test_regressions_tell_of_real_faces_what_is_in_them(judges):
    areas = [judges.areas[name]["mean"] for name in NAMES]
    assert areas[:3] == [1, 1, 1] and 0.4 < areas[3] < 0.6
    assert [judges.shares[name] for name in NAMES] == pytest.approx([0.5] * 4, abs=0.1)
    table = attributes.best_first({name: {"area": figure(1)} for name in NAMES}, judges.described())
    assert [name for name, its in table.items() if not its["judged"]] == ["Unseen"]


def test_logits_are_those_of_a_regression_on_standardised_features():
    """Worked out by hand: a minimum of the weighted loss, for features that are neither centred nor of one scale."""
    random = np.random.default_rng(0)
    scale, centre = random.uniform(0.1, 30, 50), random.uniform(-50, 90, 50)
    on = random.random(400) < 0.2
    x = random.standard_normal((400, 50))
    x[:, 0] += 2 * on
    seen = torch.from_numpy(x * scale + centre).float()
    judges = learn({"Bald": on}, seen, 300)

    train, test, told = x[:300], x[300:], on[:300]
    standard = lambda faces: (faces - train.mean(0)) / train.std(0)
    # Each side counts as much as the other, and the squared weights, but not the intercept, are paid for 1 / 0.01 fold.
    weight = np.where(told, 150 / told.sum(), 150 / (~told).sum())

    def loss(point: np.ndarray) -> float:
        logits = standard(train) @ point[1:] + point[0]
        return (weight * np.logaddexp(0, np.where(told, -logits, logits))).sum() + (point[1:] ** 2).sum() / 0.02

    best = minimize(loss, np.zeros(51), method="BFGS").x
    expected = standard(test) @ best[1:] + best[0]
    assert judges.logits("Bald", seen[300:]) == pytest.approx(expected / expected.std(), abs=0.01)
    assert judges.shares["Bald"] == told.mean()
    pairs = [(a > b) + (a == b) / 2 for a in expected[on[300:]] for b in expected[~on[300:]]]
    assert judges.areas["Bald"]["mean"] == pytest.approx(np.mean(pairs), abs=0.002)


def test_bits_that_do_what_they_say_that_do_nothing_and_that_leak(model, judges):
    result = attributes.measure(model, judges, latents=60, seed=3)
    assert list(result) == list(NAMES)
    painted, idle, leaky = (result[name] for name in NAMES[:3])
    assert painted["area"]["mean"] == pytest.approx(1) == leaky["area"]["mean"]
    # A bit that is fair and all that is seen: from one deviation below the mean to one above.
    assert painted["shift"] == pytest.approx(2, rel=0.05)
    assert painted["others"] < 0.1
    assert idle["area"]["mean"] == 0.5 and idle["shift"] == idle["others"] == idle["most"] == idle["identity"] == 0
    # The leaky one moves the painted one half as far as its own bit does, and the idle one not: the last has no judge.
    assert (leaky["most_moved"], leaky["most"]) == ("Painted", pytest.approx(1, rel=0.1))
    assert leaky["others"] == pytest.approx(0.5, rel=0.1)


def test_identity_is_a_share_of_what_two_faces_differ_by(model, judges):
    result = attributes.measure(model, judges, latents=40, seed=3)
    # Seen are the shades of 16 x 16 squares, 127.5 grey levels for 1.
    shades = 127.5 * paint(model.sample_latent(40, seed=3), BITS).mean(1)[:, 2::4, 2::4].reshape(40, 256).numpy()
    apart = [np.linalg.norm(shades[i] - shades[j]) for i in range(40) for j in range(i)]
    quarter = 127.5 * 2 * GREEN / 3 * 64**0.5
    assert result["Painted"]["identity"] == pytest.approx(quarter / np.mean(apart), rel=0.03)
    assert result["Leaky"]["identity"] == pytest.approx(1.25**0.5 * quarter / np.mean(apart), rel=0.03)


def test_without_face_features_identity_is_not_measured(model, judges):
    on = np.array([True, True, False, False] * 10)
    few = learn({"Painted": on}, torch.eye(4).repeat(10, 12), 20, NETWORKS[:1])
    its = attributes.measure(model, few, latents=4)
    assert its.pop("Idle") is its.pop("Leaky") is its.pop("Unseen") is None
    (its,) = its.values()
    assert its["identity"] is its["others"] is its["most_moved"] is None


def test_a_direction_goes_a_step_to_either_side(model, judges):
    other = PerceptualAutoencoder(7, (2,) * 4, (2,) * 5, components=2, attributes=("Painted",)).eval()
    with torch.no_grad():
        other.directions[0, 2] = 0.75
    decoded = []
    other.decode = lambda z: decoded.append(z) or model.decode(z)
    result = attributes.measure(other, judges, latents=30, seed=1)
    z, on, off = decoded
    step = torch.tensor([0, 0, 0.75, 0, 0, 0, 0])
    assert torch.equal(z, other.sample_latent(30, seed=1))
    assert torch.allclose(on, z + step) and torch.allclose(off, z - step)
    assert result["Painted"]["area"]["mean"] > 0.5


def test_labels_are_those_of_the_faces_and_what_all_have_or_none_is_left_out(tmp_path):
    for split, columns in (
        ("train", {"Smiling": [True, False] * 3, "Bald": [False] * 5 + [True], "Human": [True] * 6}),
        ("test", {"Bald": [True, False, False], "Smiling": [False, False, True], "Human": [True, False, True]}),
    ):
        count = len(columns["Bald"])
        columns["image"] = [{"bytes": encode(draw_face(number), "PNG"), "path": None} for number in range(count)]
        features = Features({name: Value("bool") for name in columns} | {"image": datasets.Image()})
        Dataset.from_dict(columns, features).to_parquet(tmp_path / f"data/{split}-00000-of-00001.parquet")
    settings = ComparisonSettings(dataset=str(tmp_path), cache_dir=tmp_path / "cache")
    pairs = settings.labels_of(settings.real_faces(6))
    assert {name: [its.tolist() for its in pair] for name, pair in pairs.items()} == {
        "Smiling": [[True, False] * 3, [False, False, True]],
        "Bald": [[False] * 5 + [True], [True, False, False]],
    }
    # None of the first four is bald.
    assert list(settings.labels_of(settings.real_faces(4))) == ["Smiling"]
    assert settings.labels("train", 2, skip=3)["Smiling"].tolist() == [False, True]


@pytest.fixture
def small(celeba, tmp_path):
    return ["--dataset", str(celeba), "--cache-dir", str(tmp_path), "--held-out", "16"]


def save_model(folder, names=("Smiling", "Winking")):
    torch.manual_seed(0)
    AttributeGenerator(6, 4, names, channels=(4, 4, 4, 4, 4)).save_pretrained(folder)
    return str(folder)


def test_the_command(small, tmp_path, capsys):
    output = tmp_path / "results/attributes.json"
    attributes.main([save_model(tmp_path / "model"), *small, "--latents", "5", "--output", str(output)])
    result = json.loads(output.read_text())
    assert result["attributes"].pop("Winking") is None  # There are no labels of it.
    assert list(result["attributes"]) == ["Smiling"]
    assert result["judges"]["Smiling"]["share"] == 0.5
    assert result["protocol"]["face features"] == NETWORKS[1] and result["protocol"]["latents"] == 5
    assert result["protocol"]["held out"] == "first 16 faces of split valid"
    printed = capsys.readouterr().out
    assert f"| Smiling | {result['attributes']['Smiling']['area']['mean']:.3f} ± " in printed
    assert "of 2 bits are told apart" in printed


@pytest.fixture
def unlabelled(tmp_path):
    (tmp_path / "people").mkdir()
    for number in range(8):
        draw_face(number).save(tmp_path / f"people/{number}.png")
    return ["--dataset", str(tmp_path / "people"), "--cache-dir", str(tmp_path / "cache")]


def test_what_cannot_be_judged_is_said_in_a_sentence(small, unlabelled, tmp_path):
    Generator(4, 2, 4).save_pretrained(tmp_path / "gan")
    model = save_model(tmp_path / "model")
    for arguments, message in (
        ([str(tmp_path / "gan"), *small], "gan has no attributes with names"),
        ([model, *unlabelled], "people: its faces have no labels of .*model's attributes .it has none that"),
        ([save_model(tmp_path / "other", ("Winking",)), *small], "attributes .those it has are Smiling"),
        ([model, *small, "--latents", "1"], "--latents is 1"),
        ([model, *small, "--seed", "-1"], "--seed is -1"),
        ([model, *small, "--training-faces", "2"], "--training-faces is 2"),
        (["nowhere", *small], "nowhere is neither a folder here nor"),
    ):
        with pytest.raises(TrainingError, match=message) as caught:
            attributes.main(arguments)
        assert "\n" not in str(caught.value)


def measured(area: float) -> dict:
    its = {"shift": 2.5, "others": 0.25, "most_moved": "Wearing_Hat", "most": -1.5, "identity": 0.4}
    return {"area": figure(area), **its}


ATTRIBUTES = {"Bald": measured(0.6), "Blurry": measured(0.99), "Smiling": measured(0.95), "Wearing_Hat": measured(0.8)}
JUDGES = {name: {"share": 0.3, "area": figure(0.65 if name == "Blurry" else 0.9)} for name in ATTRIBUTES}


def test_the_best_come_first_and_what_works_is_counted():
    assert list(attributes.best_first(ATTRIBUTES, JUDGES)) == ["Smiling", "Wearing_Hat", "Bald", "Blurry"]
    assert attributes.count_told_apart(ATTRIBUTES | {"Mustache": None}, JUDGES) == (1, 2)
    for area, expected in ((0.91, (1, 1)), (0.9, (0, 1)), (0.7, (0, 1)), (0.69, (0, 0))):
        assert attributes.count_told_apart({"Bald": measured(area)}, JUDGES) == expected
    printed = attributes.describe({"attributes": ATTRIBUTES | {"Mustache": None}, "judges": JUDGES}, "bits")
    _, _, smiling, hat, bald, blurry, _, count = printed.splitlines()
    assert smiling == "| Smiling | 0.950 ± 0.020 | 0.900 | +2.50 | 0.25 | Wearing_Hat -1.5 | 40% | works |"
    assert hat.endswith("| works |") and bald.endswith("| does not work |") and blurry.endswith("| cannot be judged |")
    assert count == "1 of 5 bits are told apart with an area over 0.9, 2 work with 0.7 or more."


# The pictures.


def test_strips_show_attributes_that_work_off_above_on(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(WEIGHTS.parent / "docs"))
    draw = importlib.import_module("draw")
    names = ("Bald", "Smiling", "Male")
    named = AttributeGenerator(7, 5, names, channels=(2, 2, 2, 2, 2)).eval()
    moved = PerceptualAutoencoder(7, (2,) * 4, (2,) * 5, components=2, attributes=names).eval()
    shown = []
    for its in (named, moved):
        its.generate = lambda count, seed, attributes: (
            shown.append((seed, attributes)) or [Image.new("RGB", (64, 64))] * count
        )
    results = {"judges": {name: {"area": figure(0.9)} for name in names}, "models": {}}
    results["models"]["named"] = {"Bald": measured(0.8), "Smiling": measured(0.6), "Male": measured(0.95)}
    (tmp_path / "results.json").write_text(json.dumps(results))
    draw.draw_attributes(
        {"named": named, "moved": moved, "plain": Generator(4, 2, 4)}, tmp_path / "results.json", tmp_path
    )
    assert {path.name for path in tmp_path.glob("*.png")} == {"named-bits.png", "moved-directions.png"}
    assert shown[:4] == [(0, {name: value}) for name in ("Male", "Bald") for value in (False, True)]
    # Nobody has measured the other: in the model's own order.
    assert [next(iter(its)) for _, its in shown[4::10]] == [*names]
    assert [its["Bald"] for _, its in shown[4:14]] == [-2, -1, 0, 1, 2] * 2
