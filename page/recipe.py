"""The recipe of a generated face: one line that a link, a PNG's metadata or a person can carry."""

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

from . import labels
from .values import quoted

if TYPE_CHECKING:
    import torch

    from models import FaceModel

MAX_FACES, MAX_SEED, MAX_TEMPERATURE = 64, 2**32 - 1, 2.0

# A recipe as a regular expression. The browser gets it with JavaScript's names of groups, in page.json.
PATTERN = (
    r"(?P<seed>\d{1,10})(?:/(?P<face>\d{1,2}))?(?: temperature=(?P<temperature>\d{1,20}(?:\.\d{0,20})?(?:e-?\d{1,3})?))?"
    rf"(?: bits=(?P<bits>[-+.]{{1,1000}}))?(?: attributes=(?P<attributes>.{{1,{labels.MOST_CHARACTERS}}}))?"
)

# The names of the PNG's texts that tell which model drew a face, and by which recipe.
MODEL_KEY, RECIPE_KEY = "latent-faces model", "latent-faces recipe"


@dataclass(frozen=True)
class Recipe:
    """One face of a seed, such as "7/3", the third of seed 7; "7" alone is its first.

    Attributes:
        seed: from 0 to 2^32 - 1.
        face: which of the seed's faces, from 1 to 64.
        temperature: multiplies the prior's standard deviation, from 0 to 2.
        bits: held bits, as `FaceModel.hold_bits` takes them; empty where none is held.
        attributes: of the face, as `labels.read` takes them; empty where all are as they were drawn.
    """

    seed: int
    face: int = 1
    temperature: float = 1.0
    bits: str = ""
    attributes: str = ""

    @classmethod
    def parse(cls, text: str) -> Self:
        """The recipe that a line of text holds.

        Raises:
            ValueError: with a sentence for whoever wrote the text.
        """
        found = re.fullmatch(PATTERN, text.strip(), re.ASCII)
        if not found:
            raise ValueError(f"{quoted(text)} is no face: write a seed, such as 7, or a face of a seed, such as 7/3.")
        seed, face, temperature = int(found["seed"]), int(found["face"] or 1), float(found["temperature"] or 1)
        if seed > MAX_SEED or not 1 <= face <= MAX_FACES or temperature > MAX_TEMPERATURE:
            raise ValueError(
                f"{quoted(text)} is no face: seeds go to {quoted(MAX_SEED)}, faces from 1 to {MAX_FACES}, "
                f"temperatures to {MAX_TEMPERATURE:g}."
            )
        return cls(seed, face, temperature, found["bits"] or "", found["attributes"] or "")

    def __str__(self) -> str:
        text = f"{self.seed}/{self.face}"
        if self.temperature != 1:
            # All of its digits, so that the text leads back to the same face.
            text += f" temperature={self.temperature!r}".removesuffix(".0")
        text += f" bits={self.bits}" if self.bits else ""
        return text + (f" attributes={self.attributes}" if self.attributes else "")

    def latent(self, model: "FaceModel") -> "torch.Tensor":
        """The latent of this face, (latent_size,)."""
        return sample(model, self.seed, self.face, self.temperature, self.bits, self.attributes)[-1]

    def metadata(self, model: str) -> dict[str, str]:
        """The texts of a PNG of this face, drawn by the model of this name."""
        return {"Software": "Latent Faces", MODEL_KEY: model, RECIPE_KEY: str(self)}


def sample(
    model: "FaceModel", seed: int, count: int, temperature: float = 1.0, bits: str = "", attributes: str = ""
) -> "torch.Tensor":
    """Latents (count, latent_size) from a model's prior, its standard deviation multiplied by `temperature`.

    Args:
        bits: held, as `FaceModel.hold_bits` takes them. Models without bits ignore them.
        attributes: as `labels.read` takes them. Models without attributes ignore them.
    """
    z = model.sample_latent(count, seed=seed, variance=model.prior_variance * temperature**2)
    if bits and model.discrete_size:
        if len(bits) != model.discrete_size or not set(bits) <= set("+-."):
            wanted = f"+, - or . for each of the {model.discrete_size}, or nothing"
            raise ValueError(f"The bits cannot be {quoted(bits)}: write {wanted}.")
        z = model.hold_bits(z, bits)
    if attributes and model.attributes:
        z = model.with_attributes(z, labels.read(attributes, model))
    return z
