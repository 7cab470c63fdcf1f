"""Score a model's faces, reconstructions, latents and attributes: python -m study.evaluate --help"""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import torch
import tyro

from models import FaceModel, PerceptualAutoencoder
from train.data import describe_crop
from train.losses import latent_moments
from train.settings import command_line, run_command

from . import attributes, scores
from .features import extract, features_of
from .markdown import by_name, score_columns, shown, table
from .protocol import BY_FACE, EvaluationSettings, RealFaces, decode, encode, load_model, write_result
from .scores import Interval

# The parts of a result, and what they score.
PARTS = {
    "generated": "generated, training faces",
    "held_out": "generated, held-out faces",
    "reconstructed": "reconstructed held-out faces",
}
BY = {"": "", BY_FACE: ", by face features"}


def compare(generated: torch.Tensor, real: torch.Tensor) -> dict[str, float]:
    """All scores of features (n, size) of generated faces against those of real ones, as many of either."""
    count = min(len(generated), len(real))
    return {name: score.function(generated[:count], real[:count]) for name, score in scores.of("generated").items()}


def over_seeds(results: Iterable[dict[str, float]]) -> dict[str, Interval]:
    """Mean and 95 % interval of each score over the results of several seeds."""
    results = list(results)
    return {name: scores.mean_and_interval([result[name] for result in results]) for name in results[0]}


def score_draws(
    draws: list[torch.Tensor], compared: dict[str, torch.Tensor], settings: EvaluationSettings
) -> dict[str, dict[str, Interval]]:
    """Scores of images drawn with several seeds, each (n, 3, 64, 64) uint8, by part and network.

    Args:
        compared: by part, the real faces that they are compared with.
    """
    result = {}
    for network, by in settings.networks.items():
        seen = [extract(images, network) for images in draws]
        for part, faces in compared.items():
            result[part + by] = over_seeds(compare(features, features_of(faces, network)) for features in seen)
    return result


def score_reconstructions(
    model: FaceModel, real: RealFaces, z: torch.Tensor, settings: EvaluationSettings
) -> dict[str, dict[str, Interval]]:
    """Means over held-out faces, with latents z (n, latent_size), and their intervals, by part and network."""
    images, originals = decode(model, z), real.held_out
    result = {}
    for network, by in settings.networks.items():
        pairs = {"features": (extract(images, network), features_of(real.held_out, network))}
        if not by:
            pairs["images"] = (images, originals)
        result["reconstructed" + by] = {
            name: scores.mean_and_interval(score.function(*pairs[score.by]))
            for name, score in scores.of("reconstructed").items()
            if score.by in pairs
        }
    for name, faces in (("sharpness", images), ("sharpness_of_originals", originals)):
        result["reconstructed"][name] = scores.mean_and_interval(scores.sharpness(face[None]) for face in faces)
    if isinstance(model, PerceptualAutoencoder) and model.encoding_steps:
        alone = decode(model, encode(model.with_encoding_steps(0), originals))
        result["reconstructed"]["psnr_by_encoder_alone"] = scores.mean_and_interval(scores.psnr(alone, originals))
    return result


def evaluate(model: FaceModel, real: RealFaces, settings: EvaluationSettings) -> dict[str, Any]:
    """The scores of a model's draws from its prior, and of its reconstructions, and the moments of its latents."""
    draws = [decode(model, model.sample_latent(settings.samples, seed=seed)) for seed in range(settings.seeds)]
    # Those of a mixture are no round numbers.
    higher = {"skewness": None, "kurtosis": None} if isinstance(model, PerceptualAutoencoder) else {}
    result: dict[str, Any] = {
        "model_type": model.model_type,
        "prior": {"mean": model.prior_mean, "variance": model.prior_variance, **higher},
        **score_draws(draws, real.compared, settings),
    }
    result["generated"] |= over_seeds({"sharpness": scores.sharpness(images)} for images in draws)
    if model.encodes:
        z = encode(model, real.held_out)
        result |= score_reconstructions(model, real, z, settings) | {"latents": latent_moments(z)}
    return result


def evaluate_attributes(models: dict[str, FaceModel], real: RealFaces, settings: EvaluationSettings) -> dict[str, Any]:
    """What the named attributes of models do, and how well classifiers tell them of real faces; neither where the data
    set has no labels of any."""
    named = {name: model for name, model in models.items() if model.attributes}
    latents = min(attributes.LATENTS, settings.samples)
    classifiers = attributes.fit_classifiers(real.labels, settings.networks, real) if named else {}
    measure = lambda model: attributes.measure(model, classifiers, settings.networks, latents)
    return {
        "kinds": {name: attributes.kind_of(model) for name, model in named.items()},
        "classifiers": {name: {"share": its.share, "area": its.area} for name, its in classifiers.items()},
        "models": {name: measure(model) for name, model in named.items() if classifiers},
    }


def describe(result: dict[str, Any]) -> str:
    """The tables of a result: faces against training faces, and against held-out ones; reconstructions; latents."""
    tables = []
    for kind, parts in (("generated", ("generated", "held_out")), ("reconstructed", ("reconstructed",))):
        if kind in result:
            rows = {part + by: PARTS[part] + about for part in parts for by, about in BY.items()}
            tables.append(by_name(result, rows, score_columns(kind, least_digits=2)))
    if "latents" in result:
        moments = result["latents"]
        prior = {"skewness": 0, "kurtosis": 3} | result["prior"]
        names = [name.removeprefix("latent_") for name in moments]
        measured = ["latents of held-out faces", *(f"{value:.2f}" for value in moments.values())]
        tables.append(table(["", *names], [measured, ["prior", *(shown(prior[name], "g") for name in names)]]))
    return "\n\n".join(tables)


def main(arguments: list[str] | None = None) -> None:
    @dataclass(frozen=True)
    class Command(EvaluationSettings):
        model: Annotated[str, tyro.conf.Positional] = tyro.MISSING
        """A folder, or a model on the Hub."""

        output: Path | None = None
        """A JSON file for all that is measured."""

    settings = command_line(Command, "study.evaluate", __doc__, arguments)
    model = load_model(settings.model)
    real = settings.real_faces(max(settings.samples, settings.training_faces if model.attributes else 0))
    if model.crop not in (None, real.crop):
        print(f"Training saw {describe_crop(model.crop)}; this sees {describe_crop(real.crop)} (--crop sets it).")
    result = evaluate(model, real, settings)
    print(describe(result) + "\n")
    if model.attributes:
        measured = evaluate_attributes({"model": model}, real, settings)
        result |= {"classifiers": measured["classifiers"], "attributes": measured["models"].get("model")}
        if any((result["attributes"] or {}).values()):
            print(attributes.describe(result["attributes"], result["classifiers"], attributes.kind_of(model)) + "\n")
        else:
            print("No attribute is measured: the data set has no labels from which a classifier can learn one.\n")
    result["protocol"] = real.protocol
    for name, value in real.protocol.items():
        print(f"{name + ':':<16} {value}")
    if settings.output:
        write_result(settings.output, result)


if __name__ == "__main__":
    run_command(main)
