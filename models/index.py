"""The models in a folder of models, such as weights/: its index.json gives their order and their titles."""

import json
from pathlib import Path


def read_index(weights: str | Path) -> dict[str, str]:
    """The title of each model by the name of its folder, in the order in which they are shown."""
    return json.loads(Path(weights, "index.json").read_text(encoding="utf-8"))


def repository_name(namespace: str, name: str) -> str:
    """The Hub id of a model, by the name of its folder."""
    return f"{namespace}/latent-faces-{name}"
