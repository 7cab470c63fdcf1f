"""Markup in every text that a page takes from somebody else."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

from models.history import EPOCHS_FILE, TRAINING_FILE, load_history
from page import zoo
from page.hub import LoadedModel
from tests.conftest import WEIGHTS

# Each runs a script, or asks a foreign machine, where one of them is taken for more than text.
FOREIGN = "https://elsewhere.example"
MARKUP = (
    f'<img class=planted src="{FOREIGN}/a.png" onerror="planted=1"><script>planted=1</script>'
    f"\"><b class=planted onclick=planted=1>'><svg class=planted onload=planted=1></textarea></style>"
    f"![planted]({FOREIGN}/b.png)${{planted=1}}{{{{planted}}}}\ud800"
)


def models_with_markup(folder: Path) -> dict[str, LoadedModel]:
    """The bundled models, with markup in what their Hub tells of them."""
    return {
        name: replace(loaded, origin=MARKUP, history=load_history(history_with_markup(folder)))
        for name, loaded in zoo.load_all().items()
    }


def history_with_markup(folder: Path, **changes: object) -> Path:
    """A folder with the GAN's history, its texts replaced."""
    training = json.loads((WEIGHTS / "gan" / TRAINING_FILE).read_text())
    losses, measurements = training["losses"], training["measurements"]
    step, *columns = losses.values()
    training["losses"] = {"step": step, **{f"{number}{MARKUP}_loss": column for number, column in enumerate(columns)}}
    measurements[MARKUP] = measurements["seconds"]
    training |= {"command": MARKUP, "note": MARKUP, MARKUP: MARKUP, **changes}
    (folder / TRAINING_FILE).write_text(json.dumps(training))
    shutil.copy(WEIGHTS / "gan" / EPOCHS_FILE, folder)
    return folder
