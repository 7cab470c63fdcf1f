"""The models in a folder of models, such as weights/. Its index.json holds their order and titles."""

import json
from pathlib import Path

INDEX_FILE = "index.json"

# The files of a model's folder on the Hub. No other file of the folder is pushed.
MODEL_FILES = (
    "config.json",
    "model.safetensors",
    "README.md",
    "attributes.json",
    "directions.json",
    "loss.png",
    "samples.png",
    "training.json",
    "epochs.webp",
)


def read_index(weights: str | Path) -> dict[str, str]:
    """The title of each model by its folder's name, in the order in which they are shown.

    Model folders that are not in index.json come last; their names are their titles.
    """
    index: dict[str, str] = json.loads(Path(weights, INDEX_FILE).read_text(encoding="utf-8"))
    names = sorted(path.parent.name for path in Path(weights).glob("[!.]*/model.safetensors"))
    return {**index, **{name: name for name in names if name not in index}}


def bundled() -> dict[str, Path]:
    """The folder of each bundled model by its name; empty if the package came without them."""
    package = Path(__file__).parent
    # An installed package holds them; in a checkout they are beside it.
    for weights in (package / "weights", package.parent / "weights"):
        if (weights / INDEX_FILE).is_file():
            return {name: weights / name for name in read_index(weights)}
    return {}


def repository_name(namespace: str, name: str) -> str:
    """The Hub id of a model by its folder's name."""
    return f"{namespace}/latent-faces-{name}"
