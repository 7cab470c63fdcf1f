"""Average the weights of trained GANs: python -m train.average --help

Of one that went on from another's weights (--start-from), and of that: what one training overdid, another may not have
(Wortsman et al. 2022, arXiv:2203.05482). Models that have random weights of their own have nothing in common to average.
"""

import copy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import tyro

from models import FaceModel

from . import amend
from .errors import TrainingError, run_command
from .run import command_of
from .settings import check_range

SECTION = """\
## Average

The weights are not those of the training above alone: they are averages of {count} models' weights, in shares of {shares}.

```
{command}
```
"""


@dataclass(frozen=True)
class AverageSettings:
    models: tuple[Path, ...] = tyro.MISSING
    """Folders of models of the same sizes. The card and the history will be the first one's."""

    shares: tuple[float, ...] = ()
    """Of each in the average. Equal ones by default."""

    output: Path = Path("runs/averaged")
    """Folder for the average."""

    def __post_init__(self) -> None:
        if len(self.models) < 2:
            raise TrainingError(f"--models names {len(self.models)}: give two or more")
        if self.shares and len(self.shares) != len(self.models):
            raise TrainingError(
                f"--shares has {len(self.shares)} numbers: give one for each of {len(self.models)} models"
            )
        for share in self.shares:
            check_range("shares", share, 0, 1_000_000, above=True)


@torch.no_grad()
def average(models: list[FaceModel], shares: list[float]) -> FaceModel:
    """A model whose numbers are averages of others'; what was fitted to labels is the first one's.

    Args:
        shares: of each, more than 0.

    Raises:
        ValueError: they are of different classes or sizes, or have latents of their own.
    """
    if any(model.encodes for model in models):
        raise ValueError("autoencoders have latents of their own each")
    ready: list[Any] = models
    if any(getattr(model, "has_affine", False) for model in models):
        ready = [model.strengthened({}) if hasattr(model, "strengthened") else model for model in models]
    states = [model.state_dict() for model in ready]
    kinds = [
        (type(model), model.discrete_size, model.attributes, {name: tensor.shape for name, tensor in state.items()})
        for model, state in zip(ready, states)
    ]
    if any(kind != kinds[0] for kind in kinds):
        raise ValueError("they are of different classes or sizes, or have bits of other names")
    result = copy.deepcopy(ready[0])
    fitted = dict(result.named_buffers(recurse=False))
    for name, tensor in result.state_dict().items():
        if tensor.is_floating_point() and name not in fitted:
            total = torch.stack([share * state[name].double() for share, state in zip(shares, states)]).sum(0)
            tensor.copy_(total / sum(shares))
    return result


def main(arguments: list[str] | None = None) -> None:
    settings = tyro.cli(AverageSettings, args=arguments, prog="python -m train.average", description=__doc__)
    first = settings.models[0]
    models = [amend.open_model(folder, settings.output) for folder in settings.models]
    shares = list(settings.shares) or [1.0] * len(models)
    command = command_of("train.average", settings)
    texts = amend.texts(
        first,
        SECTION.format(count=len(models), shares=", ".join(f"{share:g}" for share in shares), command=command),
        f"The weights were averaged with others afterwards ({command}).",
    )
    try:
        model = average(models, shares)
    except ValueError as error:
        raise TrainingError(f"--models cannot be averaged: {error}") from error
    amend.save(model, first, settings.output, texts)
    print(f"The average is in {settings.output}.")


if __name__ == "__main__":
    run_command(main)
