"""The model card, filled from the record of the run that made the model."""

from pathlib import Path
from typing import Any

from huggingface_hub import EvalResult, ModelCard

from models import FaceModel
from models.history import EPOCHS_FILE

from .record import Record

CELEBA_LICENSE = "other", "celeba-non-commercial-research", "https://mmlab.ie.cuhk.edu.hk/projects/CelebA.html"

TEMPLATE = Path(__file__).with_name("card.md")


def write_card(record: Record, model: FaceModel, folder: Path, location: str) -> None:
    """Write README.md into the folder of a model that is about to be saved or pushed.

    It shows the animation of the epochs if that is there already.

    Args:
        location: what `from_pretrained` takes to load the model: a folder or a Hub id.
    """
    description = record.description
    settings = description["settings"]
    epoch = record.epochs()[-1]
    is_local = Path(settings["dataset"]).is_dir()
    where = f"the split {settings['split']} of " + ("a local folder" if is_local else settings["dataset"])

    data = model.generate_model_card().data
    if "celeba" in Path(settings["dataset"]).name.lower():  # Whatever else it was trained on has terms of its own.
        data.license, data.license_name, data.license_link = CELEBA_LICENSE
        data.tags = ["celeba", "faces", *data.tags]
    if not is_local:
        data.datasets = [settings["dataset"]]
    if "held_out_psnr" in epoch:
        data.model_name = location.rpartition("/")[2]
        data.eval_results = [_result("psnr", "PSNR of held-out reconstructions (dB)", epoch["held_out_psnr"], settings)]
    title, summary, latent, loss, optimiser = _story(model, settings, epoch)
    card = ModelCard.from_template(
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
        data=settings.get("data_note") or where,
        epoch=epoch,
        settings=settings,
        run=description,
        animation=EPOCHS_FILE if (folder / EPOCHS_FILE).is_file() else None,
    )
    card.save(folder / "README.md")


def _result(metric: str, name: str, value: float, settings: dict[str, Any]) -> EvalResult:
    return EvalResult(
        task_type="image-to-image",
        task_name="Reconstruction",
        dataset_type=settings["dataset"] if not Path(settings["dataset"]).is_dir() else "celeba",
        dataset_name=f"CelebA, first {settings['held_out']} faces of split {settings['held_out_split']}",
        dataset_split=settings["held_out_split"],
        metric_type=metric,
        metric_name=name,
        metric_value=round(value, 3),
    )


def _story(model: FaceModel, settings: dict[str, Any], epoch: dict[str, Any]) -> tuple[str, str, str, str, str]:
    """Title, summary, the latent, the loss and the optimiser in words."""
    normal = f"N({model.prior_mean:g}, {model.prior_variance:g})"
    rate = settings["learning_rate"]
    if not model.encodes:
        average = f"; the weights are a running average (decay {settings['average']})" if settings["average"] else ""
        first, second = settings["adam_betas"]
        return (
            "Latent Faces: GAN with a half-discrete latent",
            "A small DCGAN-like generator of 64 x 64 faces. Half of its latent is continuous, half of it bits.",
            f"{model.latent_size} numbers: {model.continuous_size} from {normal}, then {model.discrete_size} fair bits.",
            "binary cross-entropy from logits; the generator's is the non-saturating one",
            f"Adam, learning rate {rate:g}, betas ({first}, {second}){average}",
        )
    optimisers = "Adam" if settings.get("optimizer") == "adam" else "Muon for matrices, Adam for the rest"
    optimiser = f"{optimisers}, learning rate {rate:g} falling to 0 along a cosine"
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
            optimiser,
        )
    kind = "shifted" if model.prior_mean else "matched"
    distance = {"mmd": "kernel MMD", "moments": "distance of the first four moments"}[model.matching]
    return (
        f"Latent Faces: {kind} autoencoder",
        f"A small autoencoder of 64 x 64 faces whose latents are matched to {normal} (mean and variance).",
        f"{model.latent_size} numbers, each matched to {normal}.",
        f"mean squared pixel error + {settings['match_weight']:g} x {distance} between a batch's latents and the prior",
        optimiser,
    )
