"""The decoders' layers, as decoder.js beside it computes them in the visitor's browser.

One list for each kind of model; the sizes are in the model's safetensors file. Written by `python -m
page.front.kernel.export`.
"""

import json
from pathlib import Path

from torch import nn

from models import FaceModel, load
from models.blocks import PixelConvTranspose2d
from models.index import read_index

DECODERS = Path(__file__).with_name("decoders.json")
WEIGHTS = DECODERS.parents[3] / "weights"

Layer = dict[str, str | float]


def layers(model: FaceModel) -> list[Layer]:
    """A model's decoder: the kind of each layer, the names of its tensors, and of its batch normalisation's.

    Raises:
        TypeError: the browser has nothing that computes one of them.
    """
    names = {module: name for name, module in model.named_modules()}
    modules = [module for module in model.decoder_layers.modules() if not isinstance(module, nn.Sequential)]
    described: list[Layer] = []
    for module, following in zip(modules, [*modules[1:], None]):
        match module, following:
            case nn.Linear(), nn.ReLU():
                described.append({"kind": "linear_relu", "name": names[module]})
            case nn.Linear(), _:
                described.append({"kind": "linear", "name": names[module]})
            case nn.ConvTranspose2d(), nn.BatchNorm2d():
                kind = "spread" if isinstance(module, PixelConvTranspose2d) else "up"
                norm = {"norm": names[following], "epsilon": following.eps}
                described.append({"kind": kind, "name": names[module], **norm})
            case nn.ConvTranspose2d(), nn.Tanh():
                described.append({"kind": "last_up", "name": names[module]})
            case nn.Conv2d(), nn.Tanh():
                described.append({"kind": "last_conv", "name": names[module]})
            case ((nn.ReLU() | nn.BatchNorm2d() | nn.Unflatten() | nn.Tanh()), _):
                pass  # Told with the layer before or after it.
            case _:
                raise TypeError(f"{names[module]} is a {type(module).__name__}: the browser cannot compute it")
    return described


def main(file: Path = DECODERS) -> None:
    """Write the layers of each kind among the bundled models."""
    models = (load(WEIGHTS / name) for name in read_index(WEIGHTS))
    lines = {model.model_type: json.dumps(layers(model)) for model in models}
    file.write_text("{\n" + ",\n".join(f'"{name}": {line}' for name, line in lines.items()) + "\n}\n")


if __name__ == "__main__":
    main()
