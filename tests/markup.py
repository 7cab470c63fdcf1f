"""Markup in every text that a page takes from somebody else."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

from models.history import EPOCHS_FILE, TRAINING_FILE, History
from page import catalog
from page.catalog import ShownModel
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


def models_with_markup(folder: Path) -> dict[str, ShownModel]:
    """The bundled models, with markup in what their Hub tells of them and in their attributes' names."""
    history = unchecked(history_with_markup(folder))
    models = {name: replace(loaded, origin=MARKUP, history=history) for name, loaded in catalog.load_all().items()}
    for name, loaded in models.items():
        if count := len(loaded.attributes):
            names = tuple([*STRANGE_NAMES, *(f"{number} {MARKUP}"[:100] for number in range(count))][:count])
            models[name] = replace(loaded, attributes=names)
    return models


# Names that config.json may give to attributes: as long as they may be, of the grammar's own characters, and none that
# a line of text can hold.
STRANGE_NAMES = [
    100 * "W",
    f'{MARKUP[:90]}" , =',
    "</script><script>planted=1</script>",
    "no beard, no glasses",
    "__proto__",
    "7",
    "a\nb",
    "\ud800",
    "\u202egnilims",
    "___",
    "a=1",
]


def history_with_markup(folder: Path) -> Path:
    """A folder with the GAN's history, its texts replaced."""
    training = json.loads((WEIGHTS / "gan" / TRAINING_FILE).read_text())
    step, *columns = training["losses"].values()
    losses = {"step": step, **{f"{number}{MARKUP}_loss": column for number, column in enumerate(columns)}}
    measurements = training["measurements"] | {MARKUP: training["measurements"]["seconds"]}
    return history_with(
        folder, losses=losses, measurements=measurements, command=MARKUP, note=MARKUP, **{MARKUP: MARKUP}
    )


def history_with(folder: Path, **changes: object) -> Path:
    """A folder with the GAN's history, some of it replaced."""
    training = json.loads((WEIGHTS / "gan" / TRAINING_FILE).read_text())
    (folder / TRAINING_FILE).write_text(json.dumps(training | changes))
    shutil.copy(WEIGHTS / "gan" / EPOCHS_FILE, folder)
    return folder


def unchecked(folder: Path) -> History:
    """What `load_history` would refuse, for what must be safe without it too."""
    training = json.loads((folder / TRAINING_FILE).read_text())
    training.pop(MARKUP, None)  # Names that a history does not have are not read.
    return History(animation=folder / EPOCHS_FILE, **training)
