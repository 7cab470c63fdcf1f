"""The models in a folder of models, such as weights/: its index.json gives their order and their titles."""

import json
from pathlib import Path

INDEX_FILE = "index.json"

# A model's folder as it stands on the Hub. Whatever else is in it is nobody else's business.
MODEL_FILES = (
    "config.json",
    "model.safetensors",
    "README.md",
    "attributes.json",
    "loss.png",
    "samples.png",
    "training.json",
    "epochs.webp",
)


def read_index(weights: str | Path) -> dict[str, str]:
    """The title of each model by the name of its folder, in the order in which they are shown.

    Model folders that index.json does not name come last; their names are their titles.
    """
    index: dict[str, str] = json.loads(Path(weights, INDEX_FILE).read_text(encoding="utf-8"))
    names = sorted(path.parent.name for path in Path(weights).glob("[!.]*/model.safetensors"))
    return {**index, **{name: name for name in names if name not in index}}


def bundled() -> dict[str, Path]:
    """The folder of each bundled model by its name; none where the package came without them."""
    package = Path(__file__).parent
    # Once installed they are inside the package, in a checkout beside it.
    for weights in (package / "weights", package.parent / "weights"):
        if (weights / INDEX_FILE).is_file():
            return {name: weights / name for name in read_index(weights)}
    return {}


def repository_name(namespace: str, name: str) -> str:
    """The Hub id of a model, by the name of its folder."""
    return f"{namespace}/latent-faces-{name}"
