"""Make the bits of a trained attribute GAN say more: python -m study.strengthen --help

Where regressions on real faces hardly see what a bit does, its rarer value becomes a larger number in the first layer.
Few faces have that value, and these have more of what the bit says. The regressions are those of `study.attributes`,
which sees the bits in other faces, but by the same networks: they have chosen, at one number a bit, what they judge.
"""

import itertools
from collections.abc import Callable, Mapping
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

After its training some bits were made to say more, or less: one of their values, +1 or -1, becomes the number below in
the first layer{how}. The areas are those under the ROC curves by which regressions on real faces tell faces with the
bit on and off apart, in {latents} latents by {networks}, with no bit changed before and all of these after.{rest}

| attribute | becomes | area before | after |
|---|---|---|---|
{rows}

```
{command}
```
"""


# Of the numbers above.
SOUGHT = ", the least with which the area is {area:g}, or the most that the attribute's share of the faces allows"
REST = "\nWhat else is in a latent, normal numbers and bits without names, is multiplied by {rest:g}."


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

    rounds: int = 2
    """How often all bits are gone over: stronger ones disturb each other, since faces come to differ by more."""

    levels: tuple[str, ...] = ()
    """What bits' values become before the first round, as in Bald=2.5 Young=-1.5; nearer 0 than 1 or -1, a bit says
    less. With --rounds 0 that is all."""

    rest: float = 1.0
    """What the latent's normal numbers and bits without names are multiplied by. Below 1, faces differ less but by what
    the bits say, and bits are told better; above 1 they differ more, and draws have more of real faces' variety."""

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
        check_range("rounds", self.rounds, 0, 100)
        self.first_levels()
        check_range("rest", self.rest, 0, 1000)
        check_range("latents", self.latents, 2, 100_000)
        check_range("seed", self.seed, 0, 2**63 - 1)
        check_range("training_faces", self.training_faces, 20, 10_000_000)

    def first_levels(self) -> dict[str, float]:
        """By attribute, what a bit's value becomes before the first round."""
        levels = {}
        for word in self.levels:
            name, _, level = word.rpartition("=")
            try:
                levels[name] = float(level)
            except ValueError:
                raise TrainingError(f"--levels {word}: give a name and a number, as in Bald=2.5") from None
            check_range(f"levels {name}", abs(levels[name]), 0.01, 1000)
        return levels


def pairs(levels: Mapping[str, float]) -> dict[str, tuple[float, float]]:
    """Off and on by attribute, from what one of each bit's values, that of the same sign, becomes."""
    return {name: (value, 1.0) if value < 0 else (-1.0, value) for name, value in levels.items()}


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

    def level(self, name: str, levels: Mapping[str, float]) -> float:
        """What the rarer value of an attribute's bit becomes, where the others' have become these."""
        settings, share = self.settings, self.shares[self._place(name)]
        rare, share = (1, share) if share <= 0.5 else (-1, 1 - share)
        usual = self._told(name, -rare, levels)

        @cache
        def area_at(level: float) -> float:
            told = self._told(name, rare * level, levels)
            return scores.area(told, usual) if rare > 0 else scores.area(usual, told)

        most = min(settings.most, 1 + settings.moved / max(share, 1e-9))
        return rare * least_level(area_at, settings.area, most)

    def area(self, name: str, levels: Mapping[str, float]) -> float:
        """Under the ROC curve of a bit on against off."""
        off, on = pairs({name: 1, **levels})[name]
        return scores.area(self._told(name, on, levels), self._told(name, off, levels))

    def _told(self, name: str, value: float, levels: Mapping[str, float]) -> torch.Tensor:
        """The logits (n,) of an attribute in the faces whose bit has a value, and the others have theirs of these."""
        model = self.model.strengthened(pairs({other: level for other, level in levels.items() if other != name}))
        z = self.z.clone()
        z[:, self._place(name)] = value
        return self.judges.logits(self.judges.see(decode(model, z)))[:, self.judges.names.index(name)]

    def _place(self, name: str) -> int:
        return self.model.continuous_size + self.model.attributes.index(name)


def main(arguments: list[str] | None = None) -> None:
    settings = tyro.cli(StrengthenSettings, args=arguments, prog="python -m study.strengthen", description=__doc__)
    keep_freed_memory()
    model = amend.open_model(settings.model, settings.output)
    if not isinstance(model, AttributeGenerator) or not model.attributes:
        raise TrainingError(f"--model {settings.model} has no bits with names: give an attribute GAN")
    levels = settings.first_levels()
    if unknown := {*settings.attributes, *levels} - set(model.attributes):
        raise TrainingError(f"no bit is called {min(unknown)}: {settings.model} has {', '.join(model.attributes)}")
    command = command_of("study.strengthen", settings)
    note = f"Some bits were made stronger, or weaker, afterwards ({command})."
    amend.texts(settings.model, "", note)  # If they are damaged, it says so now.
    faces = settings.real_faces(settings.training_faces)
    tell_of_crop(model, faces)
    sought = (settings.attributes or model.attributes) if settings.rounds else ()
    labels, wanted = settings.labels_of(faces), {*levels, *sought}
    judged = {name: labels[name] for name in model.attributes if name in wanted and name in labels}
    if missing := set(levels) - set(judged) or not judged and wanted:
        names = ", ".join(sorted(missing))[:200]
        raise TrainingError(f"--dataset {settings.dataset}: its faces have no labels of {names}")
    networks = settings.networks
    judges = Judges.learn(judged, networks, see(faces.train, networks), see(faces.held_out.faces, networks))
    trained, bits = (Bits(its, judges, settings) for its in (model, model.strengthened({}, settings.rest)))
    # What is not told of real faces is not told of others.
    told = [name for name, area in zip(judges.names, judges.areas) if verdicts.works(area)]
    for number, name in itertools.product(range(1, settings.rounds + 1), told):
        levels[name] = bits.level(name, levels)
        print(f"Round {number}: {name} becomes {levels[name]:+.2f}", flush=True)
    levels = {name: level for name, level in levels.items() if abs(level) != 1}
    rows = []
    for name, level in levels.items():
        before, after = trained.area(name, {}), bits.area(name, levels)
        print(f"{name:<24} {before:.3f} -> {after:.3f} at {level:+.2f}", flush=True)
        rows.append(f"| {name} | {level:+.2f} | {before:.2f} | {after:.2f} |")
    section = SECTION.format(
        how=SOUGHT.format(area=settings.area) if settings.rounds else "",
        rest="" if settings.rest == 1 else REST.format(rest=settings.rest),
        latents=settings.latents,
        networks=" and ".join(networks),
        rows="\n".join(rows),
        command=command,
    )
    model = model.strengthened(pairs(levels), settings.rest)
    amend.save(model, settings.model, settings.output, amend.texts(settings.model, section, note))
    stronger = sum(abs(level) > 1 for level in levels.values())
    print(
        f"Bits that are stronger now: {stronger}, weaker: {len(levels) - stronger}. The model is in {settings.output}."
    )


if __name__ == "__main__":
    run_command(main)
