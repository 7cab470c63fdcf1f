"""Markup in every text that a page takes from somebody else."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

from models.history import EPOCHS_FILE, TRAINING_FILE, History
from page import zoo
from page.hub import LoadedModel
from tests.conftest import WEIGHTS

# That the bundled GAN was trained for.
EPOCHS = json.loads((WEIGHTS / "gan" / TRAINING_FILE).read_text())["epochs"]

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
        name: replace(loaded, origin=MARKUP, history=unchecked(folder_of_history(folder, MARKUP)))
        for name, loaded in zoo.load_all().items()
    }


def unchecked(folder: Path) -> History:
    """A history as if its reader let everything pass, as text has to be text wherever it comes from."""
    return History(json.loads((folder / TRAINING_FILE).read_text()), folder / EPOCHS_FILE)


def folder_of_history(folder: Path, text: str, **changes: object) -> Path:
    """A folder with the GAN's history, its texts and names replaced by one."""
    training = json.loads((WEIGHTS / "gan" / TRAINING_FILE).read_text())
    losses, measurements = training["losses"], training["measurements"]
    step, *columns = losses.values()
    training["losses"] = {"step": step, **{f"loss{number}{text}_loss": column for number, column in enumerate(columns)}}
    measurements[text] = measurements["seconds"]
    training |= {"command": text, "note": text, text: text, **changes}
    (folder / TRAINING_FILE).write_text(json.dumps(training))
    shutil.copy(WEIGHTS / "gan" / EPOCHS_FILE, folder)
    return folder
