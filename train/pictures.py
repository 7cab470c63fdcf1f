"""Pictures that a run writes: grids of faces and the loss curve."""

from pathlib import Path
from typing import Any

import torch
from matplotlib.figure import Figure
from torchvision.utils import save_image

# The report's colours.
LOSS_COLOURS = {"generator_loss": "tab:blue", "discriminator_loss": "tab:red"}


def save_grid(x: torch.Tensor, path: Path, columns: int = 8) -> None:
    """Faces (n, 3, 64, 64) in [-1, 1], row by row, as a PNG."""
    save_image(x.float().clamp(-1, 1), path, nrow=columns, padding=2, normalize=True, value_range=(-1, 1), pad_value=1)


def save_loss_curve(metrics: list[dict[str, Any]], path: Path) -> None:
    """Every loss in `metrics.jsonl` against the steps, as a PNG."""
    steps = [line for line in metrics if any(name.endswith("_loss") for name in line)]
    if not steps:
        return
    figure = Figure(figsize=(8, 4), layout="constrained")
    axes = figure.subplots()
    for name in (name for name in steps[0] if name.endswith("_loss")):
        label = name.removesuffix("_loss")
        axes.plot(
            [line["step"] for line in steps],
            [line[name] for line in steps],
            label=label,
            color=LOSS_COLOURS.get(name),
            linewidth=0.8,
        )
    axes.set(xlabel="step", ylabel="loss")
    axes.legend()
    figure.savefig(path, dpi=100)
