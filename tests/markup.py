"""Markup in every text that a page takes from somebody else."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

from models.history import EPOCHS_FILE, TRAINING_FILE, load_history
from page import catalog
from page.catalog import ShownModel
from tests.conftest import WEIGHTS

# Each runs a script, or asks a foreign machine, where one of them is taken for more than text.
FOREIGN = "https://elsewhere.example"
MARKUP = (
    f'<img class=planted src="{FOREIGN}/a.png" onerror="planted=1"><script>planted=1</script>'
    f"\"><b class=planted onclick=planted=1>'><svg class=planted onload=planted=1></textarea></style>"
    f"![planted]({FOREIGN}/b.png)${{planted=1}}{{{{planted}}}}\ud800"
)


def models_with_markup(folder: Path) -> dict[str, ShownModel]:
    """The bundled models, with markup in what their Hub tells of them and in their attributes' names."""
    text = MARKUP.rstrip("\ud800")  # With halves of characters a history is refused.
    history = load_history(history_with(folder, command=text, note=text))
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


def history_with(folder: Path, **changes: object) -> Path:
    """A folder with the GAN's history, some of it replaced."""
    training = json.loads((WEIGHTS / "gan" / TRAINING_FILE).read_text())
    (folder / TRAINING_FILE).write_text(json.dumps(training | changes))
    shutil.copy(WEIGHTS / "gan" / EPOCHS_FILE, folder)
    return folder
