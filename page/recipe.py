"""What a generated face is made of, in one line that a link, a picture's metadata or a person can carry."""

import re
from dataclasses import dataclass
from typing import Self

import torch

from models import FaceModel

MAX_FACES, MAX_SEED, MAX_TEMPERATURE = 64, 2**32 - 1, 2.0

_FORM = re.compile(
    r"(?P<seed>\d{1,10})(?:/(?P<face>\d{1,2}))?(?: temperature=(?P<temperature>\d(?:\.\d{1,4})?))?"
    r"(?: bits=(?P<bits>[-+.]{1,1000}))?"
)


@dataclass(frozen=True)
class Recipe:
    """One face of a seed, such as "7/3", the third of seed 7; "7" alone is its first.

    Attributes:
        seed: from 0 to 2^32 - 1.
        face: which of the seed's faces, from 1 to 64.
        temperature: by which the prior's standard deviation is multiplied, from 0 to 2.
        bits: held bits, as `FaceModel.hold_bits` takes them; empty where none is held.
    """

    seed: int
    face: int = 1
    temperature: float = 1.0
    bits: str = ""

    @classmethod
    def parse(cls, text: str) -> Self:
        """
        Raises:
            ValueError: with a sentence for whoever wrote the text.
        """
        found = _FORM.fullmatch(text.strip())
        if not found:
            raise ValueError(f'"{text[:40]}" is no face: write a seed, such as 7, or a face of a seed, such as 7/3.')
        recipe = cls(int(found["seed"]), int(found["face"] or 1), float(found["temperature"] or 1), found["bits"] or "")
        if recipe.seed > MAX_SEED or not 1 <= recipe.face <= MAX_FACES or recipe.temperature > MAX_TEMPERATURE:
            raise ValueError(
                f'"{text[:40]}" is no face: seeds go to {MAX_SEED}, faces from 1 to {MAX_FACES}, '
                f"temperatures to {MAX_TEMPERATURE:g}."
            )
        return recipe

    def __str__(self) -> str:
        text = f"{self.seed}/{self.face}"
        if self.temperature != 1:
            text += f" temperature={self.temperature:g}"
        return text + (f" bits={self.bits}" if self.bits else "")

    def latent(self, model: FaceModel) -> torch.Tensor:
        """(latent_size,)"""
        return sample(model, self.seed, self.face, self.temperature, self.bits)[-1]


def sample(model: FaceModel, seed: int, count: int, temperature: float = 1.0, bits: str = "") -> torch.Tensor:
    """Latents from a model's prior, its standard deviation multiplied by `temperature`, with some bits held.

    Args:
        bits: as `FaceModel.hold_bits` takes them. Models without bits take no notice.

    Returns:
        (count, latent_size)
    """
    z = model.sample_latent(count, seed=seed, variance=model.prior_variance * temperature**2)
    return model.hold_bits(z, bits) if bits and model.discrete_size else z
