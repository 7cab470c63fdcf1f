"""What is said of named attributes: exact for models whose bits do what the test says, and the report's words for it."""

import copy
import importlib
import json
import re

import datasets
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from datasets import Dataset, Features, Value
from PIL import Image

from models import AttributeGenerator, Autoencoder, Generator, PerceptualAutoencoder, load
from models.images import denormalise
from page.labels import read_areas
from study import attributes, report, verdicts
from study.attributes import Judges
from study.evaluate import ComparisonSettings
from tests.conftest import draw_face, encode
from tests.test_verdicts import DOCS, TITLES, figure, heading
from train.errors import TrainingError

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
    seen = attributes.see(denormalise(faces), NETWORKS)
    labels = dict(zip(NAMES, z[:, 2:6].T.numpy() > 0))
    labels["Unseen"] = np.random.default_rng(0).random(600) < 0.5
    return Judges.learn({name: (on[:300], on[300:]) for name, on in labels.items()}, NETWORKS, seen[:300], seen[300:])


def test_regressions_tell_of_real_faces_what_is_in_them(judges):
    areas = [area["mean"] for area in judges.areas]
    assert areas[:3] == [1, 1, 1] and 0.4 < areas[3] < 0.6
    assert judges.shares == pytest.approx((0.5,) * 4, abs=0.1)
    table = verdicts.best_first({name: {"area": figure(1)} for name in NAMES}, judges.described())
    assert [name for name, its in table.items() if not its["judged"]] == ["Unseen"]


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
    on = np.array([True, True, False, False] * 5)
    few = Judges.learn({"Painted": (on, on)}, NETWORKS[:1], *[torch.eye(4).repeat(5, 12)] * 2)
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
    assert re.search(r"^Smiling +\d\.\d+ \+- ", printed, re.MULTILINE) and "of 2 bits are told apart" in printed


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


# The report.


def measured(area: float, **more: object) -> dict:
    its = {"shift": 2.5, "others": 0.25, "most_moved": "Wearing_Hat", "most": -1.5, "identity": 0.4}
    return {"area": figure(area, 0.02), **its, **more}


ATTRIBUTES = {"Bald": measured(0.6), "Blurry": measured(0.99), "Smiling": measured(0.95), "Wearing_Hat": measured(0.8)}
JUDGES = {name: {"share": 0.3, "area": figure(0.65 if name == "Blurry" else 0.9)} for name in ATTRIBUTES}


def test_the_best_come_first_and_those_that_do_not_work_are_named():
    table = verdicts.best_first(ATTRIBUTES, JUDGES)
    assert list(table) == ["Smiling", "Wearing_Hat", "Bald", "Blurry"]
    assert verdicts.told_apart(ATTRIBUTES | {"Mustache": None}, JUDGES, "bits") == (
        "1 of 5 bits are told apart with an area over 0.9, 1 more with 0.7 or more. Not working: bald. "
        "Not to be judged, since regressions do not tell them of real faces: blurry and mustache."
    )
    for area, told, works in ((0.91, 1, True), (0.9, 0, True), (0.7, 0, True), (0.69, 0, False)):
        table = verdicts.best_first({"Bald": measured(area)}, JUDGES)
        assert verdicts.count_told_apart(table) == told and table["Bald"]["works"] == works


@pytest.fixture
def results():
    """The repository's own, and two models beyond the reports."""
    results = report._read_results(DOCS)
    results["scores"] = {
        name: its for name, its in results["scores"].items() if name in (*TITLES, "protocol", "command")
    }
    for new, old in (("new-gan", "gan"), ("new-encoder", "matched-autoencoder")):
        for name in ("scores", "out_of_distribution", "bits", "memorisation"):
            if old in results[name]:
                results[name][new] = copy.deepcopy(results[name][old])
        for its in results["attributes"].values():
            if isinstance(its, dict) and old in its:
                its[new] = figure(0.5, 0.01)
    results["scores"]["new-gan"]["model_type"] = "attribute-generator"
    results["scores"]["new-encoder"]["model_type"] = "perceptual-autoencoder"
    results["named_attributes"] = {
        "protocol": results["scores"]["protocol"],
        "networks": list(NETWORKS),
        "latents": 500,
        "kinds": {"new-gan": "bits", "new-encoder": "directions"},
        "judges": JUDGES,
        "models": {"new-gan": ATTRIBUTES, "new-encoder": {"Smiling": measured(0.85)}},
    }
    return results


NEW = {name: TITLES[name] for name in ("gan", "autoencoder", "matched-autoencoder", "shifted-autoencoder")}
NEW |= {"new-gan": "New GAN", "new-encoder": "New encoder"}


def line(page: str, model: str, what: str) -> list[str]:
    (found,) = re.findall(rf"^\| {model} \| {re.escape(what)} \|(.*)\|$", page, re.MULTILINE)
    return [cell.strip() for cell in found.split("|")]


def test_bars_are_reached_when_their_figures_are(results):
    scores = results["scores"]
    for score, rival, values in (
        ("kernel_distance", 12.0, ((6.1, "**missed**"), (6.0, "reached"), (3.0, "the aim is reached"))),
        ("recall", 0.9, ((0.14, "**missed**"), (0.15, "reached"), (0.4, "the aim is reached"))),
        ("coverage", 0.9, ((0.49, "**missed**"), (0.5, "reached"), (0.7, "the aim is reached"))),
    ):
        scores["gan"]["generated"][score] = figure(rival)
        for value, word in values:
            scores["new-gan"]["generated"][score] = figure(value)
            cells = line(report.fill_in(results, NEW), "New GAN", report.SCORES[score].title)
            assert cells[0] == f"{value:.2f}" and cells[1] == f"{rival:.2f} (the GAN)" and cells[-1] == word
    for name, psnr in (("autoencoder", 21.0), ("matched-autoencoder", 20.0), ("shifted-autoencoder", 19.0)):
        scores[name]["reconstructed"]["psnr"] = figure(psnr)
    for psnr, word in ((21.6, "**missed**"), (21.75, "reached"), (22.5, "the aim is reached")):
        scores["new-encoder"]["reconstructed"]["psnr"] = figure(psnr)
        cells = line(report.fill_in(results, NEW), "New encoder", "PSNR (dB)")
        assert cells == [f"{psnr:.2f}", "21.00 (the plain autoencoder)", "21.70", "22.50", word]

    # Of distances by face features what no model can be under is taken off: 10 - 2 against 6 - 2.
    for name in NEW:
        scores[name]["generated_by_face_features"]["frechet_distance"] = figure(10.0)
    results["baselines"]["other training faces"]["by_face_features"]["frechet_distance"] = 2.0
    for value, word in ((6.1, "**missed**"), (6.0, "reached"), (4.0, "the aim is reached")):
        scores["new-gan"]["generated_by_face_features"]["frechet_distance"] = figure(value)
        cells = line(report.fill_in(results, NEW), "New GAN", "Frechet distance by face features, less the floor")
        assert cells == [f"{value - 2:.2f}", "8.00 (the GAN)", "4.00", "2.00", word]

    for count, word in ((11, "**missed**"), (12, "reached"), (25, "the aim is reached")):
        names = [f"bit {number}" for number in range(25)]
        results["named_attributes"]["judges"] |= {name: {"share": 0.5, "area": figure(0.9)} for name in names}
        areas = {name: measured(0.95 if number < count else 0.85) for number, name in enumerate(names)}
        results["named_attributes"]["models"]["new-gan"] = areas
        assert line(report.fill_in(results, NEW), "New GAN", "bits told apart") == [str(count), "", "12", "25", word]


def test_the_report_has_a_table_of_each_models_attributes(results):
    page = report.fill_in(results, NEW)
    assert "Not in the reports: the new GAN and the new encoder." in page
    bits = page.partition("### What the bits of the new GAN do")[2].partition("###")[0]
    assert "1 of 4 bits are told apart" in bits
    rows = re.findall(r"^\| ([a-z].*)\|$", bits, re.MULTILINE)
    assert [row.partition(" |")[0] for row in rows] == [
        "smiling",
        "wearing hat",
        "bald: does not work",
        "blurry: cannot be judged",
    ]
    assert rows[0] == "smiling | 0.95 ± 0.02 | 0.90 | +2.5 | 0.25 | wearing hat -1.5 | 40% "
    directions = page.partition("### What the directions of the new encoder do")[2]
    assert "0 of 1 directions are told apart with an area over 0.9, 1 more" in directions
    tables = re.findall(r"(?:^\|.*\n)+", page, re.MULTILINE)
    assert all(len({row.count("|") for row in table.splitlines()}) == 1 for table in tables)


def test_models_beyond_the_reports_do_not_turn_the_reports_claims(results):
    """The new encoder's reconstructions keep nothing, and nobody fitted densities to its latents."""
    old, new = (report.fill_in(results, {name: NEW[name] for name in names}) for names in (list(NEW)[:4], NEW))
    assert re.findall(r'^### "[^"]*".*', old, re.MULTILINE) == re.findall(r'^### "[^"]*".*', new, re.MULTILINE)
    assert heading(new, "Broad shape") and "Beyond the reports" not in old and "Not measured" not in new
    kept = [re.search("Of what the originals show.* keep, the least first:(.*)", page)[1] for page in (old, new)]
    assert kept[0] == kept[1]
    copies = new.partition("### Copies")[2]
    assert "| New GAN |" in copies and "| New encoder |" in copies


def test_what_was_not_measured_is_said_and_left_out(results):
    results["named_attributes"] |= {"judges": {}, "models": {}}
    for _ in range(2):
        page = report.fill_in(results, NEW)
        assert "the data set has no labels of its faces" in page and "### What the" not in page
        assert "bits told apart" not in page and "| New GAN | kernel distance |" in page
        results.pop("named_attributes", None)  # As in results from before.


@pytest.mark.parametrize("labelled", [True, False])
def test_the_report_measures_the_models_that_there_are(labelled, small, unlabelled, tmp_path, monkeypatch):
    monkeypatch.setattr(report, "face_detector", lambda: None)
    weights, folder = tmp_path / "weights", tmp_path / "docs"
    Generator(6, 3, 4).save_pretrained(weights / "gan")
    save_model(weights / "named")
    (weights / "index.json").write_text(json.dumps({"gan": "GAN", "named": "Named GAN"}))
    for number in range(8, 48):
        draw_face(number).save(tmp_path / f"people/{number}.png")
    arguments = ["--weights", str(weights), "--output", str(folder), "--samples", "20", "--seeds", "1", "--draws", "2"]
    report.main([*(small if labelled else unlabelled), *arguments])
    measured = json.loads((folder / "results/named-attributes.json").read_text())
    page = (folder / "report.md").read_text()
    assert "Not in the reports: the named GAN." in page and "| Named GAN | recall |" in page
    assert (folder / "flipped-bits-named.png").is_file()
    assert list(measured["models"]) == (["named"] if labelled else [])
    assert ("### What the bits of the named GAN do" in page) == labelled
    assert ("the data set has no labels of its faces" in page) != labelled
    if labelled:
        assert measured["latents"] == 20 and measured["models"]["named"]["Smiling"]["area"]["interval"] > 0
        assert page.count("Not to be judged, since regressions do not tell them of real faces: ") == 1


def test_the_report_measures_one_model_and_keeps_the_figures_of_the_others(small, tmp_path, monkeypatch):
    monkeypatch.setattr(report, "face_detector", lambda: None)
    weights, folder = tmp_path / "weights", tmp_path / "docs"
    Generator(6, 3, 4).save_pretrained(weights / "gan")
    Autoencoder(6).save_pretrained(weights / "plain")
    save_model(weights / "named")
    (weights / "index.json").write_text(json.dumps({"gan": "GAN", "plain": "Plain", "named": "Named GAN"}))
    arguments = [*small, "--weights", str(weights), "--output", str(folder), "--samples", "20", "--seeds", "1"]
    arguments += ["--draws", "2"]
    report.main(arguments)

    def results():
        return {path.stem: json.loads(path.read_text()) for path in (folder / "results").iterdir()}

    first, page = results(), (folder / "report.md").read_text()
    report.main([*arguments, "--only", "named"])
    assert results() == first and (folder / "report.md").read_text() == page

    with torch.no_grad():
        named = load(weights / "named")
        named.layers[-2].bias += 1
    named.save_pretrained(weights / "named")
    with pytest.raises(TrainingError, match=r"--only: scores.json .* of other weights of the other models"):
        report.main([*arguments, "--only", "gan", "plain"])
    assert results() == first
    report.main([*arguments, "--only", "named"])
    second = results()
    report.main(arguments)
    assert results() == second
    assert second["scores"]["named"] != first["scores"]["named"] and second["scores"]["gan"] == first["scores"]["gan"]
    assert {"gan", "named"} == second["bits"].keys() - {"protocol", "command"} and "plain" in second["densities"]

    with pytest.raises(TrainingError, match=r"--only nobody: --weights .* has gan, plain and named"):
        report.main([*arguments, "--only", "nobody"])


def test_the_page_reads_how_well_attributes_work_beside_the_model(tmp_path):
    measured = {"Smiling": {"area": {"mean": 0.98765, "interval": 0.01}}, "Blurry": None}
    report.write_areas(tmp_path / "attributes.json", measured)
    assert read_areas(tmp_path / "attributes.json") == {"Smiling": 0.988}


# The pictures.


def test_strips_show_attributes_that_work_off_above_on(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(DOCS))
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
