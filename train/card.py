"""The model card, filled from the run that made the model."""

from pathlib import Path
from typing import TYPE_CHECKING

from huggingface_hub import ModelCard

from models import Generator
from models.base import FaceModel

if TYPE_CHECKING:
    from .run import Position, Run

TEMPLATE = Path(__file__).with_name("card.md")


def write_card(model: FaceModel, run: "Run", position: "Position", folder: Path) -> None:
    """Write README.md into the folder of a model that is about to be saved or pushed."""
    settings = run.settings
    is_local = Path(settings.dataset).is_dir()
    data = model.generate_model_card().data
    if not is_local:
        data.datasets = [settings.dataset]
    title, summary, latent, loss, optimiser = _story(model, settings)
    measured = [line for line in run.metrics() if "latent_mean" in line]
    where = (
        f"the {settings.split} split of a local folder" if is_local else f"{settings.dataset}, split {settings.split}"
    )
    card = ModelCard.from_template(
        data,
        template_path=str(TEMPLATE),
        title=title,
        summary=summary,
        class_name=type(model).__name__,
        location=f"weights/{run.folder.name}",
        latent=latent,
        model=model,
        moments=measured[-1] if measured else None,
        held_out=getattr(settings, "held_out", None),
        data=settings.data_note or where,
        epochs=position.epoch,
        position=position,
        settings=settings,
        optimiser=optimiser,
        loss=loss,
        precision="bfloat16 arithmetic on float32 weights" if settings.uses_bf16 else "float32",
        machine=run.machine,
        command=run.command,
    )
    card.save(folder / "README.md")


def _story(model: FaceModel, settings) -> tuple[str, str, str, str, str]:
    """Title, summary, the latent, the loss and the optimiser in words."""
    normal = f"N({model.prior_mean:g}, {model.prior_variance:g})"
    if isinstance(model, Generator):
        average = f"; the weights are a running average (decay {settings.average})" if settings.average else ""
        return (
            "Latent Faces: GAN with a half-discrete latent",
            "A small DCGAN-like generator of 64 x 64 faces. Half of its latent is continuous, half of it bits.",
            f"{model.latent_size} numbers: {model.continuous_size} from {normal}, mean and variance, then "
            + f"{model.discrete_size} fair bits, -1 or +1.",
            "binary cross-entropy, non-saturating",
            f"Adam, learning rate {settings.learning_rate:g}, betas {settings.adam_betas}{average}",
        )
    optimiser = f"Adam, learning rate {settings.learning_rate:g}, falling to 0 along a cosine"
    if model.matching is None:
        return (
            "Latent Faces: plain autoencoder",
            "A small autoencoder of 64 x 64 faces, trained on pixel error alone.",
            f"{model.latent_size} numbers. Training knew no prior; sampling draws from {normal}, as the report did.",
            "mean squared pixel error",
            optimiser,
        )
    kind = "shifted" if model.prior_mean else "matched"
    distance = {"mmd": "kernel MMD", "moments": "first four moments"}[model.matching]
    return (
        f"Latent Faces: {kind} autoencoder",
        f"A small autoencoder of 64 x 64 faces whose latents are matched to {normal} (mean and variance).",
        f"{model.latent_size} numbers, each matched to {normal}.",
        f"mean squared pixel error + {settings.match_weight:g} x {distance} between a batch's latents and the prior",
        optimiser,
    )
