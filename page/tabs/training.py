"""What training did to the same latents, epoch by epoch."""

from typing import Any

import gradio as gr

from .. import records
from ..catalog import load_all
from ..controls import Number
from ..endpoints import Endpoint, Gallery, Tab, gallery, model_choice, png


def tab() -> Tab:
    most = max([2, *(loaded.history.epochs for loaded in load_all().values() if loaded.history)])
    controls = [model_choice("gan"), Number("epoch", "Epoch", most, least=1, most=most, first=1)]
    return Tab("training", "Training", controls, [Endpoint(training, controls, {"faces": gallery, "numbers": gr.JSON})])


def training(model: str, epoch: int) -> tuple[Gallery, dict[str, Any]]:
    """Show what training did to a model: the same 16 latents, decoded after a given epoch.

    Args:
        model: its name on the page, such as "GAN".
        epoch: from 1 to the number of epochs that the model was trained for.

    Returns:
        The faces, slightly compressed, as training kept them; and the number of epochs, the command that trained the
        model, its loss curves, whose points are means over several steps up to "step", and a note.
    """
    found = records.history(model)
    faces = list(map(png, records.training(model, epoch)))
    return faces, {"epochs": found.epochs, "command": found.command, "losses": found.losses, "note": found.note}
