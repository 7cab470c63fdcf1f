"""The report: tables and a chart that are the results', a text whose figures are the tables', and cards."""

import copy
import json
import re
import shutil
from functools import partial

import pytest
import torch
from huggingface_hub import ModelCard

from models import AttributeGenerator, Autoencoder, Generator, load
from models.index import read_index
from page.labels import read_areas
from study import experiments, report, tables
from study.evaluate import describe
from study.protocol import BY_FACE
from study.scores import SCORES, Score
from tests.conftest import WEIGHTS
from tests.quick_features import see_quickly
from train.settings import TrainingError

DOCS = WEIGHTS.parent / "docs"
TITLES = read_index(WEIGHTS)

PAGE = """# Measured

## Protocol

<!-- table: protocol -->
<!-- end -->

20 faces.

## Scores

<!-- table: generated -->
stale
<!-- end -->

<!-- table: reconstructed -->
<!-- end -->
"""


@pytest.fixture
def results():
    return copy.deepcopy(report.read_results(DOCS))


def cells(table: str, row: str) -> list[str]:
    """The other cells of the row that begins with this one."""
    (found,) = re.findall(rf"^\| {re.escape(row)} \|(.*)\|$", table, re.MULTILINE)
    return [cell.strip() for cell in found.split("|")]


# The repository's own.


def test_the_reports_tables_are_those_of_its_results_and_these_of_the_bundled_weights(results):
    text = (DOCS / "report.md").read_text(encoding="utf-8")
    assert report.fill_in(text, results, TITLES) == text, "python -m study.report --no-measure"
    assert set(re.findall("<!-- table: (.*) -->", text)) == tables.TABLES.keys()
    assert [*report.unsupported(text), *report.stale(results, WEIGHTS)] == []
    assert results["scores"]["protocol"]["weights"].keys() == TITLES.keys()


# What is checked.

TABLES = """## Protocol

| faces | 2,000 |
|---|---|

## One

| | distance | share |
|---|---|---|
| GAN | 5.5 ± 0.1 | 23% |
| PCA, at -100 | 208 | 0.06 ± 0.00 |
"""

ALLOWED = (
    *("It is 5.5 ± 0.1.", "It is 5.5.", "At +208, (23%).", "2000 faces, or 2,000.", "At -100: 0.06 ± 0.00"),
    *("`--samples 7`", "# 7 claims", "[here](page.md#7)", "![7](7.png)", "<!-- 7 -->", "age-v1 and b2b", "mid-5.5"),
)
UNSUPPORTED = (
    *("It is 5.6.: 5.6", "It is 5.5 ± 0.2.: 5.5 ± 0.2", "0.23 of all: 0.23", "At 100 and -208: 100", "at 0.1: 0.1"),
    *("23 of them: 23", "2,001 faces: 2,001", "seven, 7: 7", "-208: -208", "\n## Two\n\nIt is 5.5 of 2,000.: 5.5"),
)


@pytest.mark.parametrize(
    ("text", "figure"), [(text, None) for text in ALLOWED] + [its.split(": ") for its in UNSUPPORTED]
)
def test_a_figure_that_no_table_of_its_section_has_is_named_with_its_line(text, figure):
    line = 13 + text.count("\n")
    expected = [f"line {line} quotes {figure}, which no table there has"] if figure else []
    assert list(report.unsupported(TABLES + "\n" + text + "\n"))[:1] == expected


# Tables and the chart.


def test_scores_stand_where_their_names_say(results):
    scores = results["scores"]["gan"]
    scores["held_out"] = {name: {"mean": 7.0 + n, "interval": 0.25} for n, name in enumerate(scores["held_out"])}
    scores["held_out" + BY_FACE]["frechet_distance"] = {"mean": 1.234, "interval": None}
    table = tables.TABLES["held-out"](results, TITLES)
    assert cells(table, "") == [
        *["Frechet distance ↓", "kernel distance ↓", "precision ↑", "recall ↑", "density ↑", "coverage ↑"],
        "Frechet distance by face features ↓",
    ]
    row = cells(table, "GAN")
    assert row[:3] == ["7 ± 0", "8.0 ± 0.2", "9.00 ± 0.25"] and row[-1] == "1.2"


def test_what_was_not_measured_is_not_in_the_tables(results):
    for name in ("sweep", "sweep-quick"):
        del results[name]
    results["named-attributes"] |= {"classifiers": {}, "models": {}}
    for name in ("sweep-gan", "sweep-autoencoder", "adam", "sides", "named-attributes"):
        assert tables.TABLES[name](results, TITLES) == "*Not measured yet.*"
    titles = {name: title for name, title in TITLES.items() if "auto" not in name} | {"new": "New"}
    for name, make in tables.TABLES.items():
        assert "New" not in make(results, titles) and "Matched" not in make(results, titles), name


def test_what_reconstructions_keep(results):
    figure = lambda mean: {"mean": mean, "interval": 0.01}
    areas = {"autoencoder": 0.7, "matched-autoencoder": 0.6, "shifted-autoencoder": 0.5, "perceptual-autoencoder": 0.9}
    hat = {"share": 0.36, "originals": figure(0.9)} | {name: figure(area) for name, area in areas.items()}
    results["attributes"] = {"protocol": {}, "Wearing_Hat": hat}
    row = cells(tables.TABLES["survival"](results, TITLES), "wearing hat")
    # Of 0.4 beyond chance the reports' three keep 0.2, 0.1 and 0.
    assert row[:2] == ["36%", "0.90 ± 0.01"] and row[-1] == "25%"


def test_runs_of_the_sweep_stand_by_kind_and_by_seed(results):
    def run(seed, above, below, **more):
        return {"seed": seed, "diversity_above": above, "diversity_below": below, "kernel_distance": seed + 5.04} | more

    mmd = {"name": "mmd-1", "epochs": 63, "runs": [run(0, 1, 2, psnr=20), run(1, 2, 1, psnr=21.5)]}
    plain = {"name": "plain", "epochs": 63, "runs": [run(0, 2, 1, psnr=1)]}
    gan = {"name": "gan-50+50", "epochs": 50, "runs": [run(0, 2, 1), run(1, 2, 1)]}
    results |= {"sweep": {"rows": [mmd, plain, gan]}, "sweep-quick": {"rows": []}}
    assert cells(tables.TABLES["sweep-autoencoder"](results, TITLES), "mmd-1") == ["63", "5.0, 6.0", "20.00, 21.50"]
    assert tables.TABLES["sweep-gan"](results, TITLES).splitlines()[2:] == ["| gan-50+50 | 50 | 5.0, 6.0 |"]
    sides = tables.TABLES["sides"](results, TITLES)
    assert cells(sides, "0") == ["1 of 1"] and cells(sides, "1") == ["0 of 1"]


def test_curves_are_the_right_way_up():
    def curve(**values):
        points = enumerate((-100, 0, 100))
        return [{"mean": mean} | {key: value + step for key, value in values.items()} for step, mean in points]

    keys = dict.fromkeys(tables.CHARTS, 10.0)
    curves = {"gan": curve(**keys), "plain": curve(**keys | {"pixel_diversity": 30.0})}
    figure = tables.out_of_distribution_curves(curves, {"gan": "GAN", "new": "New", "plain": "Plain"})
    axes = {axis.get_ylabel(): axis for axis in figure.axes}
    assert list(axes) == list(tables.CHARTS.values())
    assert not any(axis.yaxis_inverted() or axis.xaxis_inverted() for axis in figure.axes)
    # A model that was not measured has no line. A model has one colour.
    lines = {line.get_label(): line for line in axes["diversity (grey levels)"].lines}
    assert lines["Plain"].get_xydata().tolist() == [[-100, 30], [0, 31], [100, 32]]
    assert [text.get_text() for text in figure.axes[0].get_legend().get_texts()] == list(lines) == ["GAN", "Plain"]
    frozen, plain = axes["frozen hidden units"].lines
    assert frozen.get_color() == lines["GAN"].get_color() != lines["Plain"].get_color() == plain.get_color()


def test_the_picture_of_bits_has_those_that_change_most_first(monkeypatch):
    monkeypatch.syspath_prepend(DOCS)
    import draw

    monkeypatch.setattr(draw, "sheet", lambda rows: rows)
    model, strengths = Generator(6, 3, 4).eval(), torch.tensor([0, 0, 0, 0.1, 0.4, 0.2])
    model.decode = lambda z: (z @ strengths)[:, None, None, None].expand(-1, 3, 64, 64)
    rows = draw.flipped_bits(model, [1.0, 4.0, 2.0])
    assert [*rows] == ["faces", "bit 2", "bit 3", "bit 1"]
    greys = torch.tensor([[face.getpixel((0, 0))[0] for face in faces] for faces in rows.values()]) / 127.5 - 1
    z = model.sample_latent(8, seed=3)
    flipped = [z * (1 - 2 * torch.eye(6)[number]) @ strengths for number in (4, 5, 3)]
    torch.testing.assert_close(greys, torch.stack([z @ strengths, *flipped]), atol=0.01, rtol=0)


# The command.


def make_quick(patch):
    see_quickly(patch)
    patch.setattr(experiments, "has_face", lambda images: torch.ones(len(images)))
    patch.setattr(experiments, "MEANS", (-100, -3, 0, 100))
    patch.setattr(experiments, "DRAWS", 2)


@pytest.fixture(scope="module")
def measured(celeba, tmp_path_factory):
    """A folder with small models, and the report that was made of them."""
    folder = tmp_path_factory.mktemp("report")
    torch.manual_seed(0)
    AttributeGenerator(6, 4, ("Smiling", "Winking"), channels=(4, 4, 4, 4, 4)).save_pretrained(folder / "weights/named")
    Autoencoder(4, 8, (4, 4, 4)).save_pretrained(folder / "weights/plain")
    card = folder / "weights/plain/README.md"
    card.write_text(card.read_text() + "\n## Training\n\n![Losses](loss.png)\n")
    (folder / "weights/index.json").write_text(json.dumps({"plain": "Plain autoencoder", "named": "Named GAN"}))
    (folder / "docs").mkdir()
    (folder / "docs/report.md").write_text(PAGE)
    with pytest.MonkeyPatch.context() as patch:
        make_quick(patch)
        patch.chdir(folder)
        report.main([*arguments(celeba), "--cards"])
    return folder


def arguments(celeba) -> list[str]:
    small = ["--samples", "20", "--seeds", "1", "--held-out", "8", "--held-out-split", "valid"]
    return ["--dataset", str(celeba), "--cache-dir", "cache", *small]


def read(folder) -> dict:
    return {path.stem: json.loads(path.read_text()) for path in (folder / "docs/results").iterdir()}


def test_the_report_measures_and_fills_in(measured):
    results = read(measured)
    assert results.keys() == set(experiments.EXPERIMENTS)
    page = (measured / "docs/report.md").read_text()
    assert "stale" not in page
    distance = results["scores"]["plain"]["generated"]["frechet_distance"]["mean"]
    assert f"| Plain autoencoder | {distance:.0f} |" in page
    assert (measured / "docs/out-of-distribution-curves.svg").exists()
    assert results["named-attributes"]["models"]["named"]["Winking"] is None  # There are no labels of it.
    assert results["densities"].keys() - {"protocol"} == {"plain"}
    assert results["bits"].keys() - {"protocol"} == {"named"}


def test_the_scores_are_on_the_cards(measured):
    scores = read(measured)["scores"]["plain"]
    card = ModelCard.load(measured / "weights/plain/README.md")
    assert card.text.rstrip().endswith("## Training\n\n![Losses](loss.png)") and card.text.count("## Scores") == 1
    found = {entry.metric_type: entry for entry in card.data.eval_results}
    for part, name, metric, label in (
        ("generated", "frechet_distance", "frechet_distance", "Frechet distance, generated, training faces"),
        ("held_out", "recall", "held_out_recall", "recall, generated, held-out faces"),
        ("reconstructed", "psnr", "psnr", "PSNR (dB), reconstructed held-out faces"),
    ):
        assert found[metric].metric_value == round(scores[part][name]["mean"], 3)
        assert found[metric].metric_name == label + ("" if name == "psnr" else " (efficientnet-lite0 features)")
    by_face, held_out = found["frechet_distance" + BY_FACE], found["held_out_recall"]
    assert by_face.dataset_name.endswith("first 20 faces of split train")
    assert held_out.dataset_name.endswith("first 8 faces of split valid")
    assert by_face.metric_name == "Frechet distance, generated, training faces (age-resnet features)"
    assert describe(scores) in card.text and "Face features are those of age-resnet: 256 numbers" in card.text
    area = read(measured)["named-attributes"]["models"]["named"]["Smiling"]["area"]["mean"]
    assert read_areas(measured / "weights/named/attributes.json") == {"Smiling": round(area, 3)}


@pytest.fixture
def anew(measured, tmp_path, monkeypatch):
    """The same once more, and in it."""
    make_quick(monkeypatch)
    shutil.copytree(measured, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_one_model_is_measured_anew_with_a_new_metric_and_the_others_keep_their_figures(anew, celeba, monkeypatch):
    """A metric is a function and an entry: CONTRIBUTING's recipe. It is shown in tables and on cards."""
    farthest = Score("farthest", lambda one, other: torch.cdist(one, other).max().item(), "Nobody 2026", digits=3)
    monkeypatch.setitem(SCORES, "farthest", farthest)
    worst = Score("worst", lambda one, other: (one - other).abs().amax(1), of="reconstructed", lower_is_better=True)
    monkeypatch.setitem(SCORES, "worst", worst)
    before = read(anew)
    model = load("weights/plain")
    with torch.no_grad():
        model.decoder[-2].bias += 1
    model.save_pretrained("weights/plain")
    before["scores"]["plain"]["no longer measured"] = {}
    (anew / "docs/results/scores.json").write_text(json.dumps(before["scores"]))
    with pytest.raises(TrainingError, match="the figures of plain are of other weights: measure it, with --only plain"):
        report.main([*arguments(celeba), "--no-measure"])
    report.main([*arguments(celeba), "--only", "plain", "--cards"])
    after = read(anew)
    for name in ("scores", "bits", "out-of-distribution"):
        assert after[name]["named"] == before[name]["named"]
    assert after["named-attributes"]["models"] == before["named-attributes"]["models"]
    plain = after["scores"]["plain"]
    frechet = [its["scores"]["plain"]["generated"]["frechet_distance"] for its in (before, after)]
    assert frechet[0] != frechet[1] and "no longer measured" not in plain
    digests = [its["scores"]["protocol"]["weights"] for its in (before, after)]
    assert digests[0]["named"] == digests[1]["named"] and digests[0]["plain"] != digests[1]["plain"]

    page, card = (anew / "docs/report.md").read_text(), ModelCard.load("weights/plain/README.md")
    distance = f"{plain['generated']['farthest']['mean']:.3f}"
    assert f" {distance} |" in page and "farthest: Nobody 2026" in page
    for text in (page, card.text):
        assert "| farthest ↑ |" in text and "| worst ↓ |" in text
    assert {"farthest", "held_out_farthest", "worst"} <= {entry.metric_type for entry in card.data.eval_results}

    for wrong, message in (
        (
            ["plain", "--seeds", "2"],
            "--only: the results in --output docs were measured with another seeds: measure all",
        ),
        (["nobody"], "--only nobody: --weights weights has plain, named"),
    ):
        with pytest.raises(TrainingError, match=message):
            report.main([*arguments(celeba), "--only", *wrong])
    assert read(anew) == after


def test_what_cannot_be_measured_or_filled_in_is_said(anew, celeba):
    for wrong, message in (
        (["--weights", "."], r"--weights \.: its index.json, the list of models, cannot be read"),
        (["--samples", "40"], "--samples is 40: with 48 training faces it must be 28 or less"),
        (["--output", "elsewhere"], "--output elsewhere holds no report.md"),
    ):
        with pytest.raises(TrainingError, match=message):
            report.main([*arguments(celeba), *wrong])
    page, bits = anew / "docs/report.md", anew / "docs/results/bits.json"
    replace = lambda path, old, new: partial(path.write_text, path.read_text().replace(old, new))
    for change, message in (
        (replace(page, "20 faces.", "21 faces."), r"is filled in, but line \d+ quotes 21, which"),
        (replace(bits, '"samples": 20', '"samples": 30'), "bits.json is of another protocol than results/scores.json"),
        (replace(page, "table: generated", "table: score"), "no table 'score'; there are protocol, generated"),
        (bits.unlink, "results/ lacks bits.json: measure all first, without --only and --no-measure"),
    ):
        change()
        with pytest.raises(TrainingError, match=message):
            report.main([*arguments(celeba), "--no-measure"])
