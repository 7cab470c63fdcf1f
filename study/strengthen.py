"""Make the bits of a trained attribute GAN say more: python -m study.strengthen --help

Where regressions on real faces hardly see what a bit does, its rarer value becomes a larger number in the first layer.
Few faces have that value, and these have more of what the bit says. The regressions are those of `study.attributes`,
which sees the bits in other faces, but by the same networks: they have chosen, at one number a bit, what they judge.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import torch
import tyro

from models import AttributeGenerator
from train import amend
from train.device import keep_freed_memory
from train.errors import TrainingError, run_command
from train.run import command_of
from train.settings import check_range

from . import scores, verdicts
from .attributes import Judges, see
from .evaluate import ComparisonSettings, decode, tell_of_crop

# Latents by which shares of faces are counted, and halvings of the range that a level is sought in.
COUNTED, HALVINGS = 10_000, 5

SECTION = """\
## Stronger bits

After its training some bits were made to say more: their rarer value, +1 or -1, becomes the number below in the first
layer. It is the least with which regressions on real faces tell faces with the bit on and off apart with an area under
the ROC curve of {area:g}, or the most that the attribute's share of the faces allows. The areas are of {latents} latents
by {networks}.

| attribute | becomes | area before | after |
|---|---|---|---|
{rows}

```
{command}
```
"""


@dataclass(frozen=True)
class StrengthenSettings(ComparisonSettings):
    model: Path = tyro.MISSING
    """The folder of an attribute GAN."""

    output: Path = Path("runs/strengthened")
    """Folder for the model with stronger bits."""

    attributes: tuple[str, ...] = ()
    """Those whose bits may become stronger; all by default."""

    area: float = 0.91
    """Under the ROC curve of on against off, that a bit is to reach. Where it cannot, it becomes as strong as it may be
    if it is told apart then, with an area over 0.9, and else stays as it is."""

    most: float = 3.0
    """What +1 or -1 may become, at most."""

    moved: float = 0.1
    """By how much on average over all faces: what a bit gains, times the share of faces that have its rarer value."""

    latents: int = 300
    """Faces that each bit is turned on and off in."""

    seed: int = 1
    """Of the latents; those of `study.attributes` are of seed 0."""

    training_faces: int = 8000
    """Labelled training faces that regressions learn each attribute from, at most."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_range("area", self.area, 0.5, 1)
        check_range("most", self.most, 1, 1000)
        check_range("moved", self.moved, 0, 1000)
        check_range("latents", self.latents, 2, 100_000)
        check_range("seed", self.seed, 0, 2**63 - 1)
        check_range("training_faces", self.training_faces, 20, 10_000_000)


@dataclass(frozen=True)
class Level:
    """What a bit's rarer value becomes.

    Attributes:
        value: 1 or -1 where it stays as it is, or farther from 0.
        before, after: areas under the ROC curve of the bit on against off.
    """

    value: float
    before: float
    after: float

    @property
    def pair(self) -> tuple[float, float]:
        """Off and on."""
        return min(-1.0, self.value), max(1.0, self.value)


def least_level(area_at: Callable[[float], float], wanted: float, most: float) -> float:
    """The least level from 1 to `most` with the area that is wanted; 1 if the most does not tell the two apart."""
    low, high = 1.0, most
    if area_at(low) >= wanted or area_at(high) < min(wanted, verdicts.TOLD_APART):
        return 1.0
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        low, high = (low, middle) if area_at(middle) >= wanted else (middle, high)
    return high


class Bits:
    """How well each bit of a model is told, at any level.

    Args:
        model: whose bits they are.
        judges: that tell.
        settings: of the command.
    """

    def __init__(self, model: AttributeGenerator, judges: Judges, settings: StrengthenSettings):
        self.model, self.judges, self.settings = model, judges, settings
        self.z = model.sample_latent(settings.latents, seed=settings.seed)
        self.shares = (model.sample_latent(COUNTED, seed=settings.seed) > 0).double().mean(0).tolist()

    def level(self, name: str) -> Level:
        """What the rarer value of an attribute's bit becomes."""
        settings, share = self.settings, self.shares[self._place(name)]
        rare, share = (1, share) if share <= 0.5 else (-1, 1 - share)
        usual = self._told(name, -rare)

        @cache
        def area_at(level: float) -> float:
            told = self._told(name, rare * level)
            return scores.area(told, usual) if rare > 0 else scores.area(usual, told)

        most = min(settings.most, 1 + settings.moved / max(share, 1e-9))
        level = least_level(area_at, settings.area, most)
        return Level(rare * level, area_at(1.0), area_at(level))

    def _told(self, name: str, value: float) -> torch.Tensor:
        """The logits (n,) of an attribute in the faces whose bit has a value."""
        z = self.z.clone()
        z[:, self._place(name)] = value
        return self.judges.logits(self.judges.see(decode(self.model, z)))[:, self.judges.names.index(name)]

    def _place(self, name: str) -> int:
        return self.model.continuous_size + self.model.attributes.index(name)


def main(arguments: list[str] | None = None) -> None:
    settings = tyro.cli(StrengthenSettings, args=arguments, prog="python -m study.strengthen", description=__doc__)
    keep_freed_memory()
    model = amend.open_model(settings.model, settings.output)
    if not isinstance(model, AttributeGenerator) or not model.attributes:
        raise TrainingError(f"--model {settings.model} has no bits with names: give an attribute GAN")
    if unknown := set(settings.attributes) - set(model.attributes):
        raise TrainingError(f"--attributes {min(unknown)}: {settings.model} has {', '.join(model.attributes)}")
    command = command_of("study.strengthen", settings)
    note = f"Some bits were made stronger afterwards ({command})."
    amend.texts(settings.model, "", note)  # If they are damaged, it says so now.
    faces = settings.real_faces(settings.training_faces)
    tell_of_crop(model, faces)
    labels, wanted = settings.labels_of(faces), settings.attributes or model.attributes
    if not (judged := {name: labels[name] for name in wanted if name in labels}):
        raise TrainingError(f"--dataset {settings.dataset}: its faces have no labels of {', '.join(wanted)[:200]}")
    networks = settings.networks
    judges = Judges.learn(judged, networks, see(faces.train, networks), see(faces.held_out.faces, networks))
    bits, stronger = Bits(model, judges, settings), {}
    for name, area in zip(judges.names, judges.areas):
        if not verdicts.works(area):  # What is not told of real faces is not told of others.
            continue
        level = bits.level(name)
        print(f"{name:<24} {level.before:.3f} -> {level.after:.3f} at {level.value:+.2f}", flush=True)
        if abs(level.value) > 1:
            stronger[name] = level
    rows = [f"| {name} | {its.value:+.2f} | {its.before:.2f} | {its.after:.2f} |" for name, its in stronger.items()]
    section = SECTION.format(
        area=settings.area,
        latents=settings.latents,
        networks=" and ".join(networks),
        rows="\n".join(rows),
        command=command,
    )
    model = model.strengthened({name: level.pair for name, level in stronger.items()})
    amend.save(model, settings.model, settings.output, amend.texts(settings.model, section, note))
    print(f"Bits that are stronger now: {len(stronger)}. The model is in {settings.output}.")


if __name__ == "__main__":
    run_command(main)
