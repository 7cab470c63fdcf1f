"""What is said of named attributes: exact for models whose bits do what the test says."""

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression

from models import AttributeGenerator
from models.images import crop, denormalise
from study import attributes
from study.protocol import EvaluationSettings, RealFaces
from tests.conftest import draw_face, write_parquet
from tests.quick_features import see_quickly

NETWORKS = ("efficientnet-lite0", "age-resnet")

# The model paints nothing for the second attribute, and for the third half of the first's too. The labels of the last are
# drawn without looking at the faces.
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


def figure(mean: float) -> dict:
    return {"mean": mean, "interval": 0.02}


@pytest.fixture
def model(monkeypatch):
    see_quickly(monkeypatch)
    model = AttributeGenerator(7, 5, NAMES, channels=(2, 2, 2, 2, 2)).eval()
    model.decode = lambda z: paint(z, BITS)
    return model


@pytest.fixture
def real(model):
    """300 faces, and as many held out, in which every attribute but the last is seen in a quarter of its own."""
    z = model.sample_latent(600, seed=1)
    faces = paint(z, {name: {name: 1.0} for name in QUARTERS})
    faces += 0.02 * torch.randn(faces.shape, generator=torch.Generator().manual_seed(0))
    on = dict(zip(NAMES, z[:, 2:6].T.numpy() > 0))
    on["Unseen"] = np.random.default_rng(0).random(600) < 0.5
    train, held_out = denormalise(faces).split(300)
    return RealFaces(train, held_out, {name: (its[:300], its[300:]) for name, its in on.items()})


@pytest.fixture
def classifiers(real):
    return attributes.fit_classifiers(real.labels, NETWORKS, real)


def test_logits_are_those_of_a_regression_on_standardised_features(monkeypatch):
    """Each side counts as much as the other, for features that are neither centred nor of one scale."""
    random = np.random.default_rng(0)
    on = random.random(400) < 0.2
    x = random.standard_normal((400, 50))
    x[:, 0] += 2 * on
    seen = torch.from_numpy(x * random.uniform(0.1, 30, 50) + random.uniform(-50, 90, 50)).float()
    real = RealFaces(seen[:300], seen[300:], {"Bald": (on[:300], on[300:])})
    monkeypatch.setattr(attributes, "features_of", lambda faces, network: faces)
    (bald,) = attributes.fit_classifiers(real.labels, NETWORKS[:1], real).values()

    train, test, told = x[:300], x[300:], on[:300]
    standard = lambda faces: (faces - train.mean(0)) / train.std(0)
    weight = np.where(told, 150 / told.sum(), 150 / (~told).sum())
    best = LogisticRegression(C=0.01, max_iter=1000).fit(standard(train), told, weight)
    expected = best.decision_function(standard(test))
    assert bald.logits(seen[300:]) == pytest.approx(expected / expected.std(), abs=0.01)
    assert bald.share == told.mean()
    pairs = [(a > b) + (a == b) / 2 for a in expected[on[300:]] for b in expected[~on[300:]]]
    assert bald.area["mean"] == pytest.approx(np.mean(pairs), abs=0.002)


def test_bits_that_do_what_they_say_that_do_nothing_and_that_leak(model, classifiers):
    result = attributes.measure(model, classifiers, NETWORKS, latents=60, seed=3)
    assert list(result) == list(NAMES)
    painted, idle, leaky = (result[name] for name in NAMES[:3])
    assert painted["area"]["mean"] == pytest.approx(1) == leaky["area"]["mean"]
    # A bit that is fair and all that is seen: from one deviation below the mean to one above.
    assert painted["shift"] == pytest.approx(2, rel=0.05)
    assert painted["others"] < 0.1
    assert idle["area"]["mean"] == 0.5 and idle["shift"] == idle["others"] == idle["most"] == idle["identity"] == 0
    # The leaky one moves the painted one half as far as its own bit does, and the idle one not. The last does not count.
    assert (leaky["most_moved"], leaky["most"]) == ("Painted", pytest.approx(1, rel=0.1))
    assert leaky["others"] == pytest.approx(0.5, rel=0.1)
    # Identity is a share of the distance of two faces. Seen are the shades of 16 x 16 squares, 127.5 grey levels for 1.
    shades = 127.5 * paint(model.sample_latent(60, seed=3), BITS).mean(1)[:, 2::4, 2::4].reshape(60, 256).numpy()
    apart = [np.linalg.norm(shades[i] - shades[j]) for i in range(60) for j in range(i)]
    quarter = 127.5 * 2 * GREEN / 3 * 64**0.5
    assert painted["identity"] == pytest.approx(quarter / np.mean(apart), rel=0.03)
    assert leaky["identity"] == pytest.approx(1.25**0.5 * quarter / np.mean(apart), rel=0.03)


def test_what_a_single_classifier_or_a_collapsed_model_cannot_tell_is_none(model, classifiers):
    its = attributes.measure(model, {"Painted": classifiers["Painted"]}, NETWORKS, latents=4)
    assert its.pop("Idle") is its.pop("Leaky") is its.pop("Unseen") is None
    assert its["Painted"]["others"] is its["Painted"]["most_moved"] is None
    model.decode = lambda z: torch.zeros(len(z), 3, 64, 64)
    its = attributes.measure(model, {"Painted": classifiers["Painted"]}, NETWORKS, latents=4)["Painted"]
    assert its["identity"] is None and its["area"]["mean"] == 0.5


def test_labels_are_those_of_the_faces_after_the_held_out_ones_and_what_all_have_is_left_out(tmp_path, monkeypatch):
    see_quickly(monkeypatch)
    write_parquet(tmp_path / "data/train-00000-of-00001.parquet", range(70))
    real = EvaluationSettings(dataset=str(tmp_path), cache_dir=tmp_path / "cache").real_faces(10)
    assert torch.equal(real.train, torch.cat([crop(draw_face(number), 140 / 178) for number in range(7, 17)]))
    train, held_out = real.labels["Smiling"]  # Which every other face has; the first seven are held out.
    assert train.tolist() == [False, True] * 5 and held_out.tolist() == [True, False, True, False, True, False, True]
    all_have, none_has = (np.ones(10, bool), np.ones(7, bool)), (np.zeros(10, bool), held_out)
    labels = real.labels | {"Human": all_have, "Winged": none_has, "Bald": (train, np.zeros(7, bool))}
    assert list(attributes.fit_classifiers(labels, NETWORKS, real)) == ["Smiling"]


def measured(area: float) -> dict:
    its = {"shift": 2.5, "others": 0.25, "most_moved": "Wearing_Hat", "most": -1.5, "identity": 0.4}
    return {"area": figure(area), **its}


MEASURED = {"Bald": measured(0.6), "Blurry": measured(0.99), "Smiling": measured(0.95), "Wearing_Hat": measured(0.8)}
CLASSIFIERS = {name: {"share": 0.3, "area": figure(0.65 if name == "Blurry" else 0.9)} for name in MEASURED}


def test_the_best_come_first_and_what_works_is_counted():
    for area, grade in ((0.91, "told apart"), (0.9, "works"), (0.7, "works"), (0.69, "does not work")):
        assert attributes.graded({"Bald": measured(area), "Mustache": None}, CLASSIFIERS)[grade] == ["Bald"]
    printed = attributes.describe(MEASURED | {"Mustache": None}, CLASSIFIERS, "bits")
    _, _, smiling, hat, bald, blurry, _, count = printed.splitlines()
    assert smiling == "| Smiling | 0.950 ± 0.020 | 0.900 | +2.50 | 0.25 | Wearing_Hat -1.5 | 40% | told apart |"
    assert hat.endswith("| works |") and bald.endswith("| does not work |") and blurry.endswith("| unknown |")
    assert count == "1 of 5 bits are told apart, with an area over 0.9; 1 more work, with 0.7 or more."
