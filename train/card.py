"""What a run tells of itself beside its model: the card, the losses and the animation.

`models/history.py` says what is in the files of the last two, and reads them.
"""

import json
import math
import os
import tempfile
from pathlib import Path
from statistics import fmean
from typing import Any, cast

from huggingface_hub import EvalResult, ModelCard, ModelCardData
from jinja2 import TemplateError
from PIL import Image

from models import FaceModel, load
from models.history import EPOCHS_FILE, TRAINING_FILE, load_history

from . import pictures
from .record import Record, write_whole
from .settings import TrainingError

CELEBA_LICENSE = "other", "celeba-non-commercial-research", "https://mmlab.ie.cuhk.edu.hk/projects/CelebA.html"

TEMPLATE = Path(__file__).with_name("card.md")

# Of a loss curve: more than a page has room to tell apart.
MAX_POINTS = 300


def document(record: Record, folder: Path, location: str) -> None:
    """Write the card and the history of a run into the folder of the model that it made.

    Reading the pictures of all epochs takes some 25 ms each, which is too long to do after every epoch.

    Args:
        location: what `from_pretrained` takes to load the model: a folder or a Hub id.

    Raises:
        TrainingError: the model in the folder is damaged or none of this run's kind, or the record is.
    """
    write_history(record, folder)
    try:
        model = load(folder)
    except (ValueError, OSError) as error:
        raise TrainingError(str(error)) from error
    write_card(record, model, folder, location)


def write_card(record: Record, model: FaceModel, folder: Path, location: str) -> None:
    """Write README.md into the folder of a model that is about to be saved or pushed.

    It shows the animation of the epochs if that is there already.

    Args:
        location: what `from_pretrained` takes to load the model: a folder or a Hub id.

    Raises:
        TrainingError: the run's record is damaged, or of no finished epoch.
    """
    description, epochs = record.description, record.epochs()
    if not epochs:
        raise TrainingError(f"{record.folder / 'metrics.jsonl'} tells of no finished epoch")
    try:
        card = _card(description, epochs[-1], model, location, has_animation=(folder / EPOCHS_FILE).is_file())
    except (KeyError, TypeError, ValueError, AttributeError, TemplateError) as error:
        raise TrainingError(f"{record.folder / 'run.json'} is damaged: no card can be written from it") from error
    # Names of files may be bytes of any kind.
    (folder / "README.md").write_bytes(str(card).encode("utf-8", "backslashreplace"))


def _card(
    description: dict[str, Any], epoch: dict[str, Any], model: FaceModel, location: str, has_animation: bool
) -> ModelCard:
    settings = description["settings"]
    dataset = description["dataset"]
    is_local = dataset.startswith("path/to/") or dataset.count("/") != 1 or Path(dataset).is_dir()
    is_celeba = "celeba" in Path(dataset).name.lower()
    where = f"the split {settings['split']} of {'a local folder' if is_local else dataset}"

    data = cast(ModelCardData, model.generate_model_card().data)
    if is_celeba:  # Whatever else it was trained on has terms of its own.
        data.license, data.license_name, data.license_link = CELEBA_LICENSE
        data.tags = ["celeba", "faces", *(data.tags or ())]
    if settings.get("license"):
        data.license, data.license_name, data.license_link = settings["license"], None, None
    if not is_local:
        data.datasets = [dataset]
    if "held_out_psnr" in epoch:
        name = "CelebA" if is_celeba else "a local folder" if is_local else dataset
        data.model_name = location.rpartition("/")[2]
        data.eval_results = [
            EvalResult(
                task_type="image-to-image",
                task_name="Reconstruction",
                dataset_type="imagefolder" if is_local else dataset,
                dataset_name=f"{name}, first {settings['held_out']} faces of split {settings['held_out_split']}",
                dataset_split=settings["held_out_split"],
                metric_type="psnr",
                metric_name="PSNR of held-out reconstructions (dB)",
                metric_value=round(epoch["held_out_psnr"], 3),
            )
        ]
    title, summary, latent, loss, optimiser = _story(model, settings, epoch)
    return ModelCard.from_template(
        data,
        template_path=str(TEMPLATE),
        title=title,
        summary=summary,
        latent=latent,
        loss=loss,
        optimiser=optimiser,
        model=model,
        class_name=type(model).__name__,
        location=location,
        data=" ".join((settings.get("data_note") or where).replace("|", "/").split()),
        is_celeba=is_celeba,
        attributes=[name.replace("_", " ") for name in model.attributes],
        epoch=epoch,
        epochs_before=description.get("epochs_before"),
        settings=settings,
        run=description,
        animation=EPOCHS_FILE if has_animation else None,
    )


def _story(model: FaceModel, settings: dict[str, Any], epoch: dict[str, Any]) -> tuple[str, str, str, str, str]:
    """Title, summary, the latent, the loss and the optimiser in words."""
    stories = {
        "generator": _gan,
        "autoencoder": _autoencoder,
        "attribute-generator": _attribute_gan,
        "perceptual-autoencoder": _perceptual_autoencoder,
    }
    return stories[model.model_type](model, settings, epoch)


def _gan(model: Any, settings: dict[str, Any], epoch: dict[str, Any]) -> tuple[str, str, str, str, str]:
    return (
        "Latent Faces: GAN with a half-discrete latent",
        "A small DCGAN-like generator of 64 x 64 faces. Half of its latent is continuous, half of it bits.",
        (
            f"{model.latent_size} numbers: {model.continuous_size} from {_normal(model)}, then {model.discrete_size} fair "
            "bits."
        ),
        "binary cross-entropy from logits; the generator's is the non-saturating one",
        f"Adam, learning rate {settings['learning_rate']:g}, betas (0.5, 0.999); {_average(settings)}",
    )


def _attribute_gan(model: Any, settings: dict[str, Any], epoch: dict[str, Any]) -> tuple[str, str, str, str, str]:
    attributes = (
        f"; {settings['attribute_weight']:g} x cross-entropy of the attributes, which counts more the rarer a value is. The "
        f"discriminator is shown {settings['told']:.0%} of the attributes. The generated face has the real face's values of "
        "these, and another face's values of the rest"
    )
    names, free = model.attributes, model.discrete_size - len(model.attributes)
    drawn = f", then {len(names)} bits that are attributes, drawn as they occur together among the training faces"
    return (
        "Latent Faces: GAN whose bits are attributes" if names else "Latent Faces: GAN with free bits",
        "A small generator of 64 x 64 faces. "
        + (
            f"{len(names)} bits of its latent were taught what they mean." if names else "A part of its latent is bits."
        ),
        (
            f"{model.latent_size} numbers: {model.continuous_size} from {_normal(model)}{drawn if names else ''}, then {free} "
            "fair bits."
        ),
        _adversary(settings) + (attributes if names else ""),
        (
            f"Adam, learning rate {settings['learning_rate']:g}, falling to 0 over the second half along a cosine, betas "
            f"(0.5, 0.99); {_average(settings)}"
        ),
    )


def _adversary(settings: dict[str, Any]) -> str:
    warped = (
        f"; {settings['warped']:.0%} of the pairs turned, moved and stretched a little" if settings["warped"] else ""
    )
    return (
        f"relativistic binary cross-entropy, pair by pair; gradient penalties of {settings['penalty']:g} at real and at "
        f"generated faces{warped}"
    )


def _average(settings: dict[str, Any]) -> str:
    return (
        "the weights are an average over the training (a power function of the step, relative standard deviation "
        f"{settings['average']:g})"
    )


def _perceptual_autoencoder(
    model: Any, settings: dict[str, Any], epoch: dict[str, Any]
) -> tuple[str, str, str, str, str]:
    epochs = settings["epochs"]
    perceptual, adversarial = (round(epochs * settings[f"{name}_share"]) for name in ("perceptual", "adversarial"))
    distance = (
        f"; in epochs 1 to {perceptual} also {settings['perceptual_weight']:g} x perceptual distance (shift-tolerant LPIPS, "
        "AlexNet)"
    )
    told = (
        f"; in epochs {epochs - adversarial + 1} to {epochs} it weighs {settings['pixel_weight']:g}, beside a discriminator "
        f"that tells draws from real faces: {_adversary(settings)}"
    )
    towards = ""
    if steps := model.encoding_steps:
        towards = f" Encoding goes on from the encoder by {steps} Gauss-Newton steps towards the least pixel error."
    return (
        "Latent Faces: perceptual autoencoder",
        "A small autoencoder of 64 x 64 faces, trained to look right, with a prior fitted to its latents.",
        (
            f"{model.latent_size} numbers, whitened to N(0, 1) each. Sampling draws from a mixture of "
            f"{len(model.mixture_logits)} Gaussians fitted to the training faces' latents, stretched to a variance of "
            f"{model.prior_variance:g}.{towards}"
        ),
        f"mean squared pixel error{distance if perceptual and settings['perceptual_weight'] else ''}"
        + (told if adversarial else ""),
        _optimiser(settings) + (f"; then Adam, and {_average(settings)}" if adversarial else ""),
    )


def _optimiser(settings: dict[str, Any]) -> str:
    optimisers = "Adam" if settings.get("optimizer") == "adam" else "Muon for matrices, Adam for the rest"
    return f"{optimisers}, learning rate {settings['learning_rate']:g} falling to 0 along a cosine"


def _normal(model: FaceModel) -> str:
    return f"N({model.prior_mean:g}, {model.prior_variance:g})"


def _autoencoder(model: Any, settings: dict[str, Any], epoch: dict[str, Any]) -> tuple[str, str, str, str, str]:
    normal = _normal(model)
    if model.matching is None:
        placed = "Training knew no prior, and the latents lie where it left them: draws from the prior may be no faces."
        if "raw_latent_mean" in epoch:
            placed = (
                "Training knew no prior. Afterwards the latents were whitened: a change of coordinates, folded into "
                + f"the layers around them, that gives the training faces' latents {normal} and changes no "
                + "reconstruction. Sampling therefore draws from a Gaussian fitted to the latents. As trained, those "
                + f"of the held-out faces had mean {epoch['raw_latent_mean']:.1f} and variance "
                + f"{epoch['raw_latent_variance']:.0f}: nothing in the loss fixes either."
            )
        return (
            "Latent Faces: plain autoencoder",
            "A small autoencoder of 64 x 64 faces, trained on pixel error alone.",
            f"{model.latent_size} numbers. {placed}",
            "mean squared pixel error",
            _optimiser(settings),
        )
    kind = "shifted" if model.prior_mean else "matched"
    distance = {"mmd": "kernel MMD", "moments": "distance of the first four moments"}[model.matching]
    return (
        f"Latent Faces: {kind} autoencoder",
        f"A small autoencoder of 64 x 64 faces whose latents are matched to {normal} (mean and variance).",
        f"{model.latent_size} numbers, each matched to {normal}.",
        f"mean squared pixel error + {settings['match_weight']:g} x {distance} between a batch's latents and the prior",
        _optimiser(settings),
    )


def write_history(record: Record, folder: Path) -> None:
    """Write training.json and epochs.webp, up to the last epoch that is finished.

    The animation shows what the model generated: reconstructions show the data set's pixels, which nobody may
    redistribute. Both files or neither: without the pictures of all epochs, or with damaged ones, it says so, and does
    nothing.
    """
    try:
        training, frames = _tell(record)
        # Beside the model only once its own reader takes it.
        with tempfile.TemporaryDirectory(dir=folder, prefix=".history-") as name:
            written = Path(name)
            write_whole(written / TRAINING_FILE, json.dumps(training, allow_nan=False) + "\n")
            pictures.save_animation(frames, written / EPOCHS_FILE)
            load_history(written).faces_after(1)
            for file in (TRAINING_FILE, EPOCHS_FILE):
                os.replace(written / file, folder / file)
    except (ValueError, OverflowError, TrainingError) as error:
        print(f"The model goes without {TRAINING_FILE} and {EPOCHS_FILE}: {error}")


def _tell(record: Record) -> tuple[dict[str, Any], list[Image.Image]]:
    """The contents of training.json, and the frames of the animation.

    Raises:
        ValueError: an epoch or its picture is missing or damaged.
    """
    metrics = record.metrics()
    epochs = [line for line in metrics if "seconds" in line]
    if not epochs or [line["epoch"] for line in epochs] != [*range(1, len(epochs) + 1)]:
        raise ValueError(f"{record.folder / 'metrics.jsonl'} does not tell of every epoch")
    frames = [pictures.read_faces(record.picture_path("samples", line["epoch"])) for line in epochs]
    steps = [line for line in metrics if "seconds" not in line and line["step"] <= epochs[-1]["step"]]
    if not steps:
        raise ValueError(f"{record.folder / 'metrics.jsonl'} tells of no step")
    names = dict.fromkeys(name for line in epochs for name in line)  # In order.
    steps_per_point = math.ceil(len(steps) / MAX_POINTS)
    training = {
        "command": record.description["command"],
        "epochs": epochs[-1]["epoch"],
        "images_seen": epochs[-1]["images_seen"],
        "seconds": epochs[-1]["seconds"],
        "steps_per_point": steps_per_point,
        "losses": _thinned(steps, steps_per_point),
        "measurements": {name: [_number(line.get(name)) for line in epochs] for name in names},
    }
    if first_weights := record.description.get("start_from"):
        training["note"] = f"Training began with the weights of {first_weights}."
    return training, frames


def _thinned(steps: list[dict[str, Any]], steps_per_point: int) -> dict[str, list[float | None]]:
    """The means of the losses over so many steps each, fewer in the last, by name, and the step that each ends at.

    A loss that none of these steps has, since training has several phases, is None.
    """
    names = dict.fromkeys(name for step in steps for name in step if name.endswith("_loss"))
    points = [steps[start : start + steps_per_point] for start in range(0, len(steps), steps_per_point)]
    curves = {name: [_mean([step[name] for step in point if name in step]) for point in points] for name in names}
    return {"step": [point[-1]["step"] for point in points], **curves}


def _mean(values: list[float]) -> float | None:
    return _number(fmean(values)) if values else None


def _number(value: float | None) -> float | None:
    """Five digits of a measurement, all of a count; None for what JSON has no word for."""
    if value is None or not math.isfinite(value):
        return None
    return value if isinstance(value, int) else float(f"{value:.5g}")
