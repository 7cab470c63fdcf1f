"""What a generated face is made of, in one line that a link, a picture's metadata or a person can carry."""

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

from . import labels
from .values import number, said, whole

if TYPE_CHECKING:
    import torch

    from models import FaceModel

MAX_FACES, MAX_SEED, MAX_TEMPERATURE = 64, 2**32 - 1, 2.0

_FORM = re.compile(
    r"(?P<seed>\d{1,10})(?:/(?P<face>\d{1,2}))?(?: temperature=(?P<temperature>\d[\d.e-]{0,24}))?"
    rf"(?: bits=(?P<bits>[-+.]{{1,1000}}))?(?: attributes=(?P<attributes>.{{1,{labels.MOST_CHARACTERS}}}))?"
)


@dataclass(frozen=True)
class Recipe:
    """One face of a seed, such as "7/3", the third of seed 7; "7" alone is its first.

    Attributes:
        seed: from 0 to 2^32 - 1.
        face: which of the seed's faces, from 1 to 64.
        temperature: by which the prior's standard deviation is multiplied, from 0 to 2.
        bits: held bits, as `FaceModel.hold_bits` takes them; empty where none is held.
        attributes: what the face is to have, as `labels.read` takes it; empty where all is as it was drawn.

    Raises:
        ValueError: one of them is something else.
    """

    seed: int
    face: int = 1
    temperature: float = 1.0
    bits: str = ""
    attributes: str = ""

    def __post_init__(self):
        whole(self.seed, "The seed", 0, MAX_SEED)
        whole(self.face, "The face", 1, MAX_FACES)
        number(self.temperature, "The temperature", 0, MAX_TEMPERATURE)
        _check_bits(self.bits, len(self.bits))

    @classmethod
    def parse(cls, text: str) -> Self:
        """
        Raises:
            ValueError: with a sentence for whoever wrote the text.
        """
        found = _FORM.fullmatch(text.strip())
        if not found:
            raise ValueError(f"{said(text)} is no face: write a seed, such as 7, or a face of a seed, such as 7/3.")
        face, temperature = found["face"] or 1, found["temperature"] or 1
        try:
            return cls(
                int(found["seed"]), int(face), float(temperature), found["bits"] or "", found["attributes"] or ""
            )
        except ValueError:
            raise ValueError(
                f"{said(text)} is no face: seeds go to {said(MAX_SEED)}, faces from 1 to {MAX_FACES}, "
                f"temperatures to {MAX_TEMPERATURE:g}."
            ) from None

    def __str__(self) -> str:
        text = f"{self.seed}/{self.face}"
        if self.temperature != 1:
            # All of its digits, so that the text leads back to the same face.
            text += f" temperature={self.temperature!r}".removesuffix(".0")
        text += f" bits={self.bits}" if self.bits else ""
        return text + (f" attributes={self.attributes}" if self.attributes else "")

    def latent(self, model: "FaceModel") -> "torch.Tensor":
        """(latent_size,)"""
        return sample(model, self.seed, self.face, self.temperature, self.bits, self.attributes)[-1]


def sample(
    model: "FaceModel", seed: int, count: int, temperature: float = 1.0, bits: str = "", attributes: str = ""
) -> "torch.Tensor":
    """Latents from a model's prior, its standard deviation multiplied by `temperature`, with some bits held.

    Args:
        bits: as `FaceModel.hold_bits` takes them. Models without bits take no notice.
        attributes: as `labels.read` takes them. Models without attributes take no notice.

    Returns:
        (count, latent_size)
    """
    z = model.sample_latent(count, seed=seed, variance=model.prior_variance * temperature**2)
    if bits and model.discrete_size:
        _check_bits(bits, model.discrete_size)
        z = model.hold_bits(z, bits)
    if attributes and model.attributes:
        z = model.with_attributes(z, labels.read(attributes, model))
    return z


def _check_bits(bits: str, count: int) -> None:
    if len(bits) != count or not set(bits) <= set("+-."):
        raise ValueError(f"The bits cannot be {said(bits)}: write +, - or . for each of the {count}, or nothing.")
