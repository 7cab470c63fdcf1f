"""The report: tables that are the results', a text whose figures are the tables', and cards."""

import copy
import json
import re
import shutil

import pytest
import torch
from huggingface_hub import ModelCard

from models import AttributeGenerator, Autoencoder, load
from models.index import read_index
from page.labels import read_areas
from study import experiments, report, tables
from study.evaluate import BY_FACE, describe
from study.scores import SCORES, Score
from tests.conftest import WEIGHTS
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
"""


@pytest.fixture
def results():
    return copy.deepcopy(report.read_results(DOCS))


def cells(table: str, row: str) -> list[str]:
    """Of a row by its first cell."""
    (found,) = re.findall(rf"^\| {re.escape(row)} \|(.*)\|$", table, re.MULTILINE)
    return [cell.strip() for cell in found.split("|")]


# The repository's own.


def test_the_reports_tables_are_those_of_its_results(results):
    text = (DOCS / "report.md").read_text(encoding="utf-8")
    assert report.fill_in(text, results, TITLES) == text, "python -m study.report --no-measure"
    assert set(re.findall("<!-- table: (.*) -->", text)) == tables.TABLES.keys()
    for table in re.findall(r"(?:^\|.*\n)+", text, re.MULTILINE):
        assert len({row.count("|") for row in table.splitlines()}) == 1, table


def test_every_figure_in_the_reports_text_is_in_a_table_of_its_section():
    assert list(report.unsupported((DOCS / "report.md").read_text(encoding="utf-8"))) == []


def test_the_results_are_those_of_the_bundled_weights(results):
    assert list(report.stale(results, WEIGHTS)) == []
    assert results["scores"]["protocol"]["weights"].keys() == TITLES.keys()


# What the check finds.

TABLES = """## Protocol

| faces | 2,000 |
|---|---|

## One

| | distance | share |
|---|---|---|
| GAN | 5.5 ± 0.1 | 23% |
| PCA, at -100 | 208 | 0.06 ± 0.00 |
"""


@pytest.mark.parametrize(
    "text",
    [
        *("It is 5.5 ± 0.1.", "It is 5.5.", "At +208, (23%).", "2000 faces, or 2,000.", "At -100: 0.06 ± 0.00"),
        *("`--samples 7`", "# 7 claims", "[here](page.md#7)", "![7](7.png)", "<!-- 7 -->", "age-v1 and b2b", "mid-5.5"),
    ],
)
def test_figures_of_tables_may_be_quoted(text):
    assert list(report.unsupported(TABLES + "\n" + text + "\n")) == []


@pytest.mark.parametrize(
    ("text", "figure"),
    [
        *(
            ("It is 5.6.", "5.6"),
            ("It is 5.5 ± 0.2.", "5.5 ± 0.2"),
            ("0.23 of all", "0.23"),
            ("At 100 and -208", "100"),
        ),
        *(("at 0.1", "0.1"), ("23 of them", "23"), ("2,001 faces", "2,001"), ("seven, 7", "7"), ("-208", "-208")),
    ],
)
def test_other_figures_are_named_with_their_line(text, figure):
    found = list(report.unsupported(TABLES + "\n" + text + "\n"))
    assert found[0] == f"line 13 quotes {figure}, which no table there has"


def test_a_figure_of_another_section_does_not_count():
    text = TABLES + "\n## Two\n\nIt is 5.5 of 2,000.\n"
    assert list(report.unsupported(text)) == ["line 15 quotes 5.5, which no table there has"]


def test_results_of_other_weights_or_of_another_protocol_are_named(results, tmp_path):
    for name in ("gan", "autoencoder"):
        shutil.copytree(WEIGHTS / name, tmp_path / name)
    assert list(report.stale(results, tmp_path)) == []
    shutil.copy(WEIGHTS / "autoencoder/model.safetensors", tmp_path / "gan/model.safetensors")
    (told,) = report.stale(results, tmp_path)
    assert told == "the figures of gan are of other weights: measure it, with --only gan"
    results["bits"]["protocol"]["samples"] = 7
    assert "results/bits.json is of another protocol than results/scores.json: measure all" in report.stale(
        results, tmp_path
    )


def test_a_table_that_there_is_not_is_named(results):
    with pytest.raises(TrainingError, match=r"there is no table 'score'; there are protocol, generated"):
        report.fill_in("<!-- table: score -->\n<!-- end -->", results, TITLES)


# Tables.


def test_scores_stand_where_their_names_say(results):
    scores = results["scores"]["gan"]
    scores["held_out"] = {name: {"mean": 7.0 + n, "interval": 0.25} for n, name in enumerate(scores["held_out"])}
    scores["held_out" + BY_FACE]["frechet_distance"] = {"mean": 1.234, "interval": None}
    table = tables.TABLES["held-out"](results, TITLES)
    assert cells(table, "") == [
        *["Frechet distance", "kernel distance", "precision", "recall", "density", "coverage"],
        "Frechet distance by face features",
    ]
    assert cells(table, "GAN")[:3] == ["7 ± 0", "8.0 ± 0.2", "9.00 ± 0.25"] and cells(table, "GAN")[-1] == "1.2"
    for part in ("held_out", "held_out" + BY_FACE):
        del scores[part]
    assert "| GAN |" not in tables.TABLES["held-out"](results, TITLES)


def test_what_was_not_measured_is_not_in_the_tables(results):
    for name in ("sweep", "sweep-quick"):
        del results[name]
    results["named-attributes"] |= {"judges": {}, "models": {}}
    for its in (*results["scores"].values(), *results["baselines"].values()):
        if isinstance(its, dict):
            its.pop("held_out", None)
    for name in ("sweep-gan", "sweep-autoencoder", "adam", "sides", "held-out"):
        assert tables.TABLES[name](results, TITLES) == "*Not measured yet.*"
    titles = {name: title for name, title in TITLES.items() if "auto" not in name} | {"new": "New"}
    for name, make in tables.TABLES.items():
        assert "New" not in make(results, titles) and "Matched" not in make(results, titles), name


def test_a_new_score_has_an_empty_column_until_it_is_measured(results, monkeypatch):
    monkeypatch.setitem(SCORES, "farthest", Score("the farthest", max))
    monkeypatch.setitem(SCORES, "worst", Score("the worst", max, "reconstructed"))
    for table, title in (("generated", "the farthest"), ("reconstructed", "the worst")):
        made = tables.TABLES[table](results, TITLES)
        column = cells(made, "").index(title)
        assert cells(made, "Plain autoencoder")[column] == ""


def test_what_reconstructions_keep(results):
    figure = lambda mean: {"mean": mean, "interval": 0.01}
    areas = {"autoencoder": 0.7, "matched-autoencoder": 0.6, "shifted-autoencoder": 0.5, "perceptual-autoencoder": 0.9}
    male = {"share": 0.36, "originals": figure(0.9)} | {name: figure(area) for name, area in areas.items()}
    results["attributes"] = {"protocol": {}, "command": "", "Wearing_Hat": male}
    table = tables.TABLES["survival"](results, TITLES)
    # Of 0.4 beyond chance the reports' three keep 0.2, 0.1 and 0.
    assert cells(table, "wearing hat")[-1] == "25%"
    assert cells(table, "wearing hat")[:2] == ["36%", "0.90 ± 0.01"]


def test_a_sweep_has_a_row_for_what_was_trained(results):
    runs = [
        {"kernel_distance": distance, "frechet_distance": 9.0, "seed": seed} for seed, distance in ((0, 5.04), (1, 6))
    ]
    results["sweep"] = {"rows": [{"name": "gan-50+50", "epochs": 50, "runs": runs}], "protocol": {"data": "faces"}}
    del results["sweep-quick"]
    table = tables.TABLES["sweep-gan"](results, TITLES)
    assert table.splitlines()[2:] == ["| gan-50+50 | 50 | 5.0, 6.0 |"]


def test_the_side_of_the_collapse_is_counted_by_seed(results):
    run = lambda seed, above, below: {"seed": seed, "diversity_above": above, "diversity_below": below, "psnr": 1}
    rows = [
        {"name": "mmd-1", "epochs": 63, "runs": [run(0, 1, 2), run(1, 2, 1)]},
        {"name": "variance-4", "epochs": 63, "runs": [run(0, 1, 2), run(1, 1, 2)]},
        {"name": "plain", "epochs": 63, "runs": [run(0, 2, 1)]},
    ]
    results["sweep"] = {"rows": rows}
    del results["sweep-quick"]
    table = tables.TABLES["sides"](results, TITLES)
    assert cells(table, "0") == ["2 of 2"] and cells(table, "1") == ["1 of 2"]


def test_attributes_are_grouped_by_how_well_they_work(results):
    figure = lambda area: {"area": {"mean": area, "interval": 0.01}}
    names = {"Bald": 0.6, "Blurry": 0.99, "Smiling": 0.91, "Wearing_Hat": 0.9, "Male": 0.95}
    results["named-attributes"] |= {
        "judges": {name: {"share": 0.3, **figure(0.69 if name == "Blurry" else 0.9)} for name in names},
        "models": {"attribute-gan": {name: figure(area) for name, area in names.items()} | {"Mustache": None}},
        "kinds": {"attribute-gan": "bits"},
    }
    table = tables.TABLES["named-attributes"](results, TITLES)
    assert cells(table, "area under the ROC curve") == ["bits of Attribute GAN"]
    assert cells(table, "told apart, over 0.9") == ["2: male 0.95, smiling 0.91"]
    assert cells(table, "work, 0.7 or more") == ["1: wearing hat 0.90"]
    assert cells(table, "do not work") == ["1: bald 0.60"] and cells(table, "cannot be judged") == ["1: blurry 0.99"]


# The command.


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
        patch.setattr(experiments, "face_detector", lambda: None)
        patch.setattr(experiments.out_of_distribution, "__defaults__", ((-100, -3, 0, 100),))
        patch.chdir(folder)
        report.main([*arguments(celeba), "--cards"])
    return folder


def arguments(celeba) -> list[str]:
    small = ["--samples", "20", "--seeds", "1", "--draws", "2", "--held-out", "8", "--held-out-split", "valid"]
    return ["--dataset", str(celeba), "--cache-dir", "cache", *small]


def read(folder) -> dict:
    return {path.stem: json.loads(path.read_text()) for path in (folder / "docs/results").iterdir()}


def test_the_report_measures_fills_in_and_draws(measured):
    results = read(measured)
    assert results.keys() == {*experiments.MEASUREMENTS, "named-attributes"}
    page = (measured / "docs/report.md").read_text()
    distance = results["scores"]["plain"]["generated"]["frechet_distance"]["mean"]
    assert cells(page, "Plain autoencoder")[0] == f"{distance:.0f}" and "stale" not in page
    assert "`python -m study.report --dataset path/to/celeba" in page
    drawn = {path.name for path in (measured / "docs").glob("*.*g")}
    assert drawn == {"bits.svg", "out-of-distribution-curves.svg", "autoencoders.png", "flipped-bits-named.png"}
    assert results["named-attributes"]["latents"] == 20
    assert results["named-attributes"]["models"]["named"]["Winking"] is None  # There are no labels of it.
    assert results["densities"].keys() - {"protocol", "command"} == {"plain"}
    assert results["bits"].keys() - {"protocol", "command"} == {"named"}


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
        value = scores[part][name]["mean"]
        assert found[metric].metric_value == round(value, 3)
        assert found[metric].metric_name == label + ("" if name == "psnr" else " (efficientnet-lite0 features)")
    assert describe(scores) in card.text
    by_face = found["frechet_distance" + BY_FACE]
    assert by_face.metric_name == "Frechet distance, generated, training faces (age-resnet features)"
    assert "Those by face features are of age-resnet (256 numbers" in card.text
    area = read(measured)["named-attributes"]["models"]["named"]["Smiling"]["area"]["mean"]
    assert read_areas(measured / "weights/named/attributes.json") == {"Smiling": round(area, 3)}


def test_one_model_is_measured_anew_and_the_others_keep_their_figures(measured, celeba, tmp_path, monkeypatch):
    shutil.copytree(measured, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(experiments, "face_detector", lambda: None)
    monkeypatch.setattr(experiments.out_of_distribution, "__defaults__", ((-100, -3, 0, 100),))
    before = read(tmp_path)
    model = load("weights/plain")
    with torch.no_grad():
        model.decoder[-2].bias += 1
    model.save_pretrained("weights/plain")
    with pytest.raises(
        TrainingError, match="but the figures of plain are of other weights: measure it, with --only plain"
    ):
        report.main([*arguments(celeba), "--no-measure"])
    report.main([*arguments(celeba), "--only", "plain"])
    after = read(tmp_path)
    assert after["scores"]["named"] == before["scores"]["named"] and after["bits"]["named"] == before["bits"]["named"]
    assert after["scores"]["plain"]["generated"] != before["scores"]["plain"]["generated"]
    assert after["scores"]["protocol"]["weights"]["named"] == before["scores"]["protocol"]["weights"]["named"]
    assert after["baselines"].keys() == before["baselines"].keys()
    assert after["out-of-distribution"]["named"] == before["out-of-distribution"]["named"]

    with pytest.raises(TrainingError, match="--only: .*json .* was measured in another way"):
        report.main([*arguments(celeba), "--only", "plain", "--draws", "3"])
    with pytest.raises(TrainingError, match=r"--only nobody: --weights weights has plain, named"):
        report.main([*arguments(celeba), "--only", "nobody"])
    assert read(tmp_path) == after


def test_a_figure_that_no_table_has_is_the_commands_error(measured, celeba, tmp_path, monkeypatch):
    shutil.copytree(measured, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "docs/report.md").write_text(PAGE.replace("20 faces", "21 faces"))
    with pytest.raises(
        TrainingError, match=r"report.md is filled in, but line \d+ quotes 21, which no table there has"
    ):
        report.main([*arguments(celeba), "--no-measure"])
    assert "| Plain autoencoder |" in (tmp_path / "docs/report.md").read_text()
    (tmp_path / "docs/results/bits.json").unlink()
    with pytest.raises(TrainingError, match=r"results/ lacks bits.json: measure first, without --no-measure"):
        report.main([*arguments(celeba), "--no-measure"])
    (tmp_path / "docs/results/bits.json").write_text("{")
    with pytest.raises(TrainingError, match=r"bits.json is damaged"):
        report.main([*arguments(celeba), "--no-measure"])


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (["--weights", "."], r"--weights \.: its index.json, the list of models, cannot be read"),
        (
            ["--samples", "40", "--weights", str(WEIGHTS)],
            "--samples is 40: with 48 training faces it must be 28 or less",
        ),
        (["--draws", "1"], "--draws is 1"),
        (["--weights", str(WEIGHTS), "--output", "elsewhere"], "--output elsewhere holds no report.md"),
    ],
)
def test_what_cannot_be_measured_is_said(wrong, message, celeba, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs/report.md").touch()
    with pytest.raises(TrainingError, match=message):
        report.main([*arguments(celeba), *wrong])
