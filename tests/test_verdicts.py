"""The report's words follow its figures: each verdict turns when its figures do."""

import copy
import json
import re
from pathlib import Path
from typing import Any

import pytest

from models.index import read_index
from study import report, verdicts
from tests.conftest import WEIGHTS

BUNDLED = read_index(WEIGHTS)

# The reports' models, which the claims are about.
TITLES = {name: BUNDLED[name] for name in ("gan", "autoencoder", "matched-autoencoder", "shifted-autoencoder")}


def figure(mean: float, interval: float | None = 0.1) -> dict:
    return {"mean": mean, "interval": interval}


def test_figures_differ_beyond_both_intervals():
    assert verdicts.compare(figure(2), figure(1)) == 1 and verdicts.compare(figure(1), figure(2)) == -1
    # The interval of a difference of 3 and 4 is 5.
    assert verdicts.compare(figure(5.1, 3), figure(0, 4)) == 1 and verdicts.compare(figure(4.9, 3), figure(0, 4)) == 0
    assert verdicts.compare(figure(9, None), figure(1)) == verdicts.compare(figure(9), figure(1, None)) == 0
    assert [verdicts.exceeds(figure(mean), 0.5) for mean in (0.7, 0.3, 0.55)] == [True, False, None]


def test_most_is_beyond_half_by_wilson():
    # Of 100 draws: 60 % is 50.2 to 69.1 %, 59 % is 49.2 to 68.1 % (Wilson 1927).
    assert [verdicts.most(share, 100) for share in (0.6, 0.59, 0.41, 0.4, None)] == [True, None, None, False, None]


@pytest.mark.parametrize(
    ("checks", "word"),
    [
        ((True, True), "confirmed"),
        ((False, False), "refuted"),
        ((True, False), "partly right"),
        ((True, None), "undecided"),
        ((False, None), "undecided"),
        ((True, None, False), "partly right"),
        ((), "undecided"),
    ],
)
def test_a_verdict_needs_all_checks(checks, word):
    assert verdicts.verdict(*checks) == word


def test_words():
    assert verdicts.joined(["a"]) == "a" and verdicts.joined(["a", "b", "c"]) == "a, b and c"
    assert verdicts.joined([]) == "none"
    assert verdicts.called("GAN") == "the GAN" and verdicts.called("Plain autoencoder") == "the plain autoencoder"
    assert verdicts.by_sign({"a": 1, "b": -1, "c": 1}, "over", "at", "under") == "over a and c; under b"
    better, worse = (
        {"recall": figure(9), "kernel_distance": figure(1)},
        {"recall": figure(1), "kernel_distance": figure(9)},
    )
    assert verdicts.quality(better, worse, better) == "better by every score"
    assert verdicts.quality(worse, better, better) == "worse by recall and kernel distance"


def test_what_survives():
    attributes = {
        "Bald": {"share": 0.02, "originals": figure(0.9), "one": figure(0.6), "other": figure(0.8)},
        "Hatless": {"share": 0.98, "originals": figure(0.9), "one": figure(0.7), "other": figure(0.8)},
        "No_Beard": {"share": 0.8, "originals": figure(0.7), "one": figure(0.68), "other": figure(0.68)},
        "Unseen": {"share": 0.5, "originals": figure(0.55), "one": figure(0.9), "other": figure(0.9)},
    }
    result = verdicts.survival(attributes, ["one", "other"])
    assert list(result["each"]) == [
        "Bald",
        "Hatless",
        "No_Beard",
    ]  # The least first, and none that originals do not show.
    # So few have one, and so few lack the other.
    assert result["rare"]["mean"] == pytest.approx((0.25 + 0.75 + 0.5 + 0.75) / 4)
    assert result["common"]["mean"] == pytest.approx(0.9)
    assert result["rare"]["interval"] == pytest.approx(0.1 / 0.4)


def row(name: str, *distances: float, **more: float) -> dict:
    runs = [{"seed": seed, "kernel_distance": distance, **more} for seed, distance in enumerate(distances)]
    return {"name": name, "runs": runs}


def test_kinds_of_runs_differ_beyond_their_seeds():
    near, far, also_near = row("near", 10, 11), row("far", 20, 21), row("also near", 10.4)
    # Fisher's F of the first two is 200 with 1 and 2 degrees of freedom: p = 0.005.
    assert verdicts.chance([near, far]) == pytest.approx(0.005, abs=0.0005)
    assert verdicts.looks_best(near, [near, far]) is True
    assert verdicts.looks_best(far, [near, far, also_near]) is False
    assert verdicts.looks_best(near, [near, far, also_near]) is None  # Not better than the one that is near too.
    assert verdicts.chance([row("a", 1), row("b", 2)]) is None is verdicts.looks_best(near, [near])
    assert verdicts.improvements([row("2", 30, 20), row("5", 25, 21), row("10", 20)]) == (2, 3)
    assert verdicts.improvements([]) == (0, 0)


def test_which_side_goes_with_the_seed():
    def runs(*sides: bool) -> dict:
        return {
            "runs": [{"seed": i, "diversity_above": 1, "diversity_below": 2 if s else 0} for i, s in enumerate(sides)]
        }

    counts = verdicts.collapses_above([runs(True, False)] * 6)
    assert counts == {0: (6, 6), 1: (0, 6)} and verdicts.goes_with_seed(counts) is True
    assert verdicts.goes_with_seed({0: (3, 6), 1: (4, 6)}) is None is verdicts.goes_with_seed({0: (6, 6)})


DOCS = Path(__file__).parent.parent / "docs"


@pytest.fixture
def results():
    """The repository's own of the reports' models, as they would be without the second yardstick."""
    return without(BUNDLED.keys() - TITLES.keys(), without_face_features(report._read_results(DOCS)))


def without(names: set[str], result: Any) -> Any:
    """The results of other models than these."""
    if isinstance(result, dict):
        return {key: without(names, value) for key, value in result.items() if key not in names}
    return result


def without_face_features(result: Any) -> Any:
    if isinstance(result, list):
        return [without_face_features(value) for value in result]
    if not isinstance(result, dict):
        return result
    return {
        key: without_face_features(value)
        for key, value in result.items()
        if "by_face_features" not in str(key) and key != "face features"
    }


def heading(page: str, start: str) -> str:
    """The verdict of the claim that starts so."""
    return re.search(rf'### "{re.escape(start)}[^"]*": (.*)', page)[1]


def both(results: dict) -> str:
    return report.fill_in(results, TITLES)


def test_each_heading_turns_with_its_figures(results):
    matched, plain, shifted = (f"{kind}autoencoder" for kind in ("matched-", "", "shifted-"))
    curves = results["out_of_distribution"]

    def set_curve(name: str, mean: float, **values: float) -> None:
        next(point for point in curves[name] if point["mean"] == mean).update(values)

    def set_areas(names: list[str], area: float) -> None:
        for name in names:
            results["attributes"][name] |= {model: figure(area, 0.01) for model in (plain, matched, shifted)}

    rare = [name for name in results["attributes"] if name in ("Eyeglasses", "Wearing_Hat", "Wearing_Necktie")]
    common = [name for name in ("Male", "Smiling", "Blond_Hair", "Bangs", "No_Beard")]
    for common_area, rare_area, word in (
        (0.85, 0.55, "confirmed"),
        (0.85, 0.9, "partly right"),
        (0.55, 0.9, "refuted"),
    ):
        set_areas(common, common_area)
        set_areas(rare, rare_area)
        assert heading(both(results), "Broad shape") == word

    sharpness = results["scores"][matched]["reconstructed"]["sharpness"]
    own = results["scores"][matched]["generated"]["sharpness"]
    set_curve(matched, 0, pixel_diversity=80.0)
    for other, word, phrase in (
        (own["mean"] + 1, "confirmed", "blurrier than"),
        (own["mean"] - 1, "partly right", "sharper than"),
        (own["mean"], "undecided", "not to be told from"),
    ):
        sharpness |= figure(other)
        page = both(results)
        assert heading(page, "Samples are") == word and f"samples are {phrase} the reconstructions" in page

    for above, faces_above, faces_below, word in (
        (5.0, 1.0, 0.0, "confirmed"),
        (5.0, 0.0, 0.0, "partly right"),
        (50.0, 0.0, 1.0, "refuted"),
        (5.0, None, None, "undecided"),
    ):
        set_curve(matched, 100, pixel_diversity=above, face_share=faces_above)
        set_curve(matched, -100, face_share=faces_below)
        assert heading(both(results), "At mean +100") == word

    for theirs, others, word in ((0.9, 0.1, "confirmed"), (0.9, 0.9, "partly right"), (0.1, 0.9, "refuted")):
        set_curve(shifted, -3, face_share=theirs)
        set_curve(plain, -3, face_share=others)
        assert heading(both(results), "N(-3, 2) gives faces") == word


# A run of a sweep, as study.sweep scores it.
SWEPT = {
    "kernel_distance": 30.0,
    "frechet_distance": 300.0,
    "psnr": 20.0,
    "latent_variance": 2.0,
    "latent_kurtosis": 3.0,
    "diversity_above": 1.0,
    "diversity_below": 2.0,
}


def swept_protocol(results: dict, **its: object) -> dict:
    return results["scores"]["protocol"] | its


def test_each_sentence_turns_with_its_figures(results):
    matched, plain = "matched-autoencoder", "autoencoder"
    for point in results["out_of_distribution"][matched]:
        point |= {"clipped": 0.95, "frozen_units": 0.95}
    assert "Both sides collapse in the same way." in both(results)
    next(point for point in results["out_of_distribution"][matched] if point["mean"] == -100)["clipped"] = 0.5
    assert "The matched autoencoder does not collapse on both sides." in both(results)

    sampled = results["densities"][plain]["sampled"]["N(0, 2)"]
    sampled["frechet_distance"] = figure(9999)
    assert "N(0, 2) worse than the matched one" in both(results)
    assert "**matching buys samples that a Gaussian fitted afterwards does not**" in both(results)
    sampled["frechet_distance"] = figure(1)
    assert "**matching buys nothing that a Gaussian fitted afterwards does not**" in both(results)

    results["scores"]["gan"]["generated"]["recall"] = figure(0, 0)
    results["scores"][matched]["generated"]["recall"] = figure(0.5)
    assert "worse by recall" in both(results)

    for name in TITLES:
        results["memorisation"][name]["nearer_than_1_percent_of_held_out"] = 0.02
    assert "No model copies its training faces." in both(results)
    results["memorisation"]["gan"]["nearer_than_1_percent_of_held_out"] = 0.5
    assert "copied by the GAN." in both(results)

    for pixels, phrase in ((40, "more than another number"), (1, "less than another number")):
        for move in results["bits"]["gan"]["discrete"]:
            move["pixels"] = pixels + move["number"] / 1000
        assert f"A bit does {phrase}" in both(results)

    lain = {"latents": results["densities"][plain]["latents"], "sampled": results["densities"][plain]["sampled"]}
    for offs, word in (((1.5, 1.4), "refuted"), ((1.5, 0.1), "partly right"), ((0.1, 0.1), "confirmed")):
        runs = [
            {**SWEPT, "seed": seed, "densities": {**lain, "latents": lain["latents"] | {"mean_in_deviations": off}}}
            for seed, off in enumerate(offs)
        ]
        line = {"name": "plain-adam", "epochs": 6, "arguments": [], "runs": runs}
        results["sweep"] = {"protocol": swept_protocol(results, budget="small", limit=None), "rows": [line]}
        results.pop("sweep_full", None)
        assert f"**That they lie around 0: {word} here.**" in both(results)


def test_a_model_more_is_in_every_table(results):
    toy, bits = "Toy autoencoder", "Toy GAN"
    for name in ("scores", "out_of_distribution", "densities", "memorisation", "bits"):
        results[name] |= {
            new: copy.deepcopy(results[name][old])
            for new, old in (("toy", "shifted-autoencoder"), ("toy-gan", "gan"))
            if old in results[name]
        }
    for its in results["attributes"].values():
        if "originals" in its:
            its["toy"] = its["shifted-autoencoder"]
    page = report.fill_in(results, TITLES | {"toy": toy, "toy-gan": bits})
    tables = re.findall(r"(?:^\|.*\n)+", page, re.MULTILINE)
    assert [index for index, table in enumerate(tables) if toy in table] == [0, 1, 2, 3, 4, 5, len(tables) - 1]
    assert [index for index, table in enumerate(tables) if bits in table] == [0, 4, len(tables) - 1]
    assert "the shifted autoencoder and the toy autoencoder, each from N(0, 2)" in page
    assert "**Toy GAN.** A bit flipped" in page and "](flipped-bits-toy-gan.png)" in page
    assert "Not measured" not in page

    # One that was not measured, or not to the end, is named and left out.
    del results["densities"]["toy"]
    page = report.fill_in(results, TITLES | {"toy": toy, "new": "New model"})
    assert "**Not measured yet:** Toy autoencoder and New model." in page and page.count(toy) == 1


def test_an_encoder_alone_has_a_row_below_its_models(results):
    results = measured_by_face(results)
    assert "its encoder alone" not in report.fill_in(results, TITLES)
    results["scores"]["shifted-autoencoder"]["reconstructed"]["psnr_by_encoder_alone"] = figure(12.5, 0.25)
    lines = report.fill_in(results, TITLES).splitlines()
    row = lines.index("| its encoder alone | 12.50 ± 0.25 | | | | | |")
    assert lines[row - 1].startswith("| Shifted autoencoder |") and lines[row + 1].startswith(
        "| PCA with 100 numbers |"
    )


def measured_by_face(results: dict) -> dict:
    """The results with scores by face features: of the GAN 1 each, of the autoencoders 2, 3 and 4, of PCA 5."""
    its = lambda value: {name: figure(value, 0.01) for name in results["baselines"]["PCA"]["generated"]}
    results = copy.deepcopy(results)
    results["scores"]["protocol"]["face features"] = "age-resnet"
    for value, name in enumerate(("gan", "autoencoder", "matched-autoencoder", "shifted-autoencoder"), 1):
        results["scores"][name]["generated_by_face_features"] = its(value)
        if name != "gan":
            results["scores"][name]["reconstructed_by_face_features"] = {"feature_distance": figure(value / 8, 0.01)}
            sampled = results["densities"][name]["sampled"]
            results["densities"][name]["sampled_by_face_features"] = {
                density: its(value + number / 8) for number, density in enumerate(sampled)
            }
    results["baselines"]["PCA"]["generated_by_face_features"] = its(5)
    results["baselines"]["other training faces"]["by_face_features"] = its(0.25)
    results["baselines"]["one face repeated"]["by_face_features"] = its(99)
    return results


def test_the_second_yardstick_stands_beside_the_first(results):
    old, new = both(results), both(measured_by_face(results))
    assert "y face features" not in old and "No network that scores was part of a training loss." in old
    assert "No network that scores was part of a training loss." in new
    assert "features of age-resnet (256 numbers" in new and "Verdicts, and all else" in new
    # Everything that was there is there, the verdicts too.
    assert re.findall(r'^### "[^"]*".*', old, re.MULTILINE) == re.findall(r'^### "[^"]*".*', new, re.MULTILINE)

    tables = {table.split(" |")[0]: table for table in re.findall(r"(?:^\|.*\n)+", new, re.MULTILINE)}
    first_number = lambda line: line.split(" | ")[1]
    lines = tables["| generated, by face features"].splitlines()[2:]
    values = ["1.00", "2.00", "3.00", "4.00", "5.00", "0.25", "99.00"]
    assert [first_number(line) for line in lines] == [f"{value} ± 0.01" for value in values]
    lines = tables["| latents from, by face features"].splitlines()[2:]
    assert [first_number(line)[:4] for line in lines[:5]] == ["2.00", "2.12", "2.25", "2.38", "3.00"]
    assert "| feature distance | by face features | sharpness |" in tables["| reconstructed"]
    assert len({line.count("|") for line in tables["| reconstructed"].splitlines()}) == 1
    assert " | 0.4 ± 0.0 | " in tables["| reconstructed"]

    assert "By face features they are better by Frechet distance and kernel distance; worse by precision" in new
    sentence = (
        "(5.0 ± 0.0), the Frechet distance by face features is smaller for the plain autoencoder (2.0 ± 0.0), the"
    )
    assert sentence in new
    assert "(by face features better than it)" in new and "(by face features 4.12 ± 0.01 against 2.12 ± 0.01)" in new
    assert re.search("a mixture of ten, .* has, by face features, a Frechet distance larger for the plain", new)


def test_what_was_measured_before_the_second_yardstick_is_left_out(results):
    new = measured_by_face(results)
    new |= {name: results[name] for name in ("baselines", "densities")}
    page = both(new)
    assert "| generated, by face features |" in page and "| latents from, by face features |" not in page
    assert len(re.findall(r"^\| one training face, repeated", page, re.MULTILINE)) == 1
    assert "**Not all of one run:**" in page


def test_a_sweep_has_both(results):
    run = SWEPT | {"seed": 0, "by_face_features": {"frechet_distance": 77.25}}
    rows = [{"name": name, "epochs": 5, "arguments": [], "runs": [run]} for name in ("gan-50+50, 5 epochs", "plain")]
    results.pop("sweep_full", None)
    results["sweep"] = {"protocol": swept_protocol(results, budget="small", limit=None), "rows": rows}
    page = both(results)
    tables = [table for table in re.findall(r"(?:^\|.*\n)+", page, re.MULTILINE) if " 77.2 |" in table]
    assert [table.split(" |")[0] for table in tables] == ["| GAN: bits + continuous", "| autoencoder"]
    assert all(len({line.count("|") for line in table.splitlines()}) == 1 for table in tables)
    del run["by_face_features"]
    assert "Frechet distance by face features" not in both(results)


@pytest.mark.parametrize("name", ["gan", "shifted-autoencoder", "matched-autoencoder"])
def test_no_model_is_needed(results, name):
    page = report.fill_in(results, {name: "Lone model"})
    assert "Lone model" in page
    assert ("What one bit does" in page) == (name == "gan")
    assert ('"Samples are' in page) == (name == "matched-autoencoder")


def test_the_page_says_what_made_it_of_what(results):
    results["scores"]["command"] = "python -m study.report --dataset path/to/people --seeds 3"
    results["scores"]["protocol"]["data"] = "passport photographs"
    page = both(results)
    assert "Generated by `python -m study.report --dataset path/to/people --seeds 3`" in page.splitlines()[2]
    assert "**Data.** Passport photographs." in page
    assert "**Not all of one run:** out-of-distribution, densities" in page  # The others' data is another.


def test_a_half_finished_sweep_says_what_is_missing(results):
    results.pop("sweep_full", None)
    assert "at the reports' own budget are not here" in both(results)
    rows = [
        {
            "name": name,
            "epochs": epochs,
            "arguments": [],
            "runs": [SWEPT | {"seed": seed, "kernel_distance": distance} for seed, distance in enumerate(distances)],
        }
        for name, epochs, distances in (
            ("gan-50+50, 20 epochs", 20, (30.0, 31)),
            ("gan-50+50, 50 epochs", 50, (20.0, 20.5)),
            ("gan-10+90", 50, (30.0,)),
            ("gan-100+100", 50, (22.0,)),
        )
    ]
    results["sweep_full"] = {"protocol": swept_protocol(results, budget="full", limit=8000), "rows": rows}
    page = both(results).partition("--budget full --limit 8000`")[2].partition("### Copies")[0]
    assert "the reports' epochs, on the first 8000 faces of the training split" in page
    missing = page.partition("**Not trained yet in this budget:** ")[2].partition("\n")[0]
    assert "`gan-50+50, 100 epochs`" in missing and "`gan-20+80`" in missing and "`plain`" in missing
    assert "`gan-10+90`" not in missing and "20 epochs" not in missing and "| autoencoder |" not in page
    assert "| gan-50+50, 50 epochs | 50 | 20.0, 20.5 |" in page
    assert "**Training helps** the GAN: confirmed. From one number of epochs to the next, 2 of 2 runs" in page
    # Between 20, 20.5 and a lone 30: F = 507 with 1 and 1 degrees of freedom, p = 0.028.
    assert (
        "shows (chance 0.03). The nearest on average is gan-50+50, 50 epochs, at 20.2; the default's is 20.2. "
        "That it is the best: confirmed." in page
    )
    rows[2]["runs"][0]["kernel_distance"] = 10.0
    assert "That it is the best: refuted." in both(results)
    for line in rows:
        del line["runs"][1:]
    rows[1]["runs"][0]["kernel_distance"] = 40
    page = both(results).partition("--budget full --limit 8000`")[2]
    assert "**Training helps** the GAN: refuted." in page and "split** cannot be told with a seed each" in page


def test_the_committed_report_is_what_its_results_say():
    page = (DOCS / "report.md").read_text()
    assert page == report.fill_in(report._read_results(DOCS), BUNDLED)
    assert json.loads((DOCS / "results/scores.json").read_text())["command"] in page
