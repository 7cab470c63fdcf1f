"""What a photograph meets in the visitor's browser, as ONNX graphs: the face detector, and the models' encoders.

A model's graphs are without weights: every tensor is external data under its own name, which the browser takes from the
model's safetensors file, so that one graph does for all models of an architecture. The face detector's three networks
hold their weights. Written by `python -m page.front.graphs.export`, which needs `onnxscript` and `facenet-pytorch`.
"""

import json
from pathlib import Path
from typing import Any

import torch
from onnx import ModelProto, TensorProto
from torch import nn

from models import FaceModel, PerceptualAutoencoder, load
from models.alignment import LEAST_FACE, load_detector
from models.blocks import error_and_gradient
from models.images import IMAGE_SIZE
from models.index import read_index

GRAPHS = Path(__file__).parent
WEIGHTS = GRAPHS.parents[2] / "weights"

# Beside the graphs: the shape of each tensor that a graph takes, by which the browser knows what to load and whether it fits.
SHAPES = "shapes.json"


class Encoder(nn.Module):
    """Faces (n, 3, 64, 64) in [-1, 1] to latents (n, latent_size), without the steps that `encode` may take."""

    def __init__(self, model: FaceModel):
        super().__init__()
        self.model = model

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.model.encoder(x)


class Slope(nn.Module):
    """Where those steps go: half the squared error of decoded latents, (n, 1), and its gradient times the preconditioner."""

    def __init__(self, model: PerceptualAutoencoder):
        super().__init__()
        self.model = model

    def forward(self, x: torch.Tensor, z: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        error, gradient = error_and_gradient(self.model.decoder, z, x)
        return error, gradient @ self.model.preconditioner


def graph(network: nn.Module, inputs: dict[str, torch.Tensor], outputs: list[str], sizes: list[int]) -> ModelProto:
    """A network in eval mode as a graph.

    Args:
        inputs: an example of each, by its name.
        outputs: their names.
        sizes: the dimensions of the inputs that may have another size.
    """
    dynamic = dict.fromkeys(sizes, torch.export.Dim.DYNAMIC)
    made = torch.onnx.export(
        network.eval(),
        tuple(inputs.values()),
        input_names=[*inputs],
        output_names=outputs,
        opset_version=18,
        dynamic_shapes=tuple(dynamic for _ in inputs),
        optimize=False,  # The runtime does that, once it has the weights.
        verbose=False,
    )
    proto = made.model_proto
    proto.ClearField("producer_version")
    proto.graph.ClearField("value_info")
    for part in (proto, proto.graph, *proto.graph.node, *proto.graph.input, *proto.graph.output):
        part.ClearField("metadata_props")  # Where each node comes from in the code.
    return proto


def without_weights(proto: ModelProto) -> dict[str, list[int]]:
    """Make a model's tensors external data; returns their shapes by their names in its safetensors file."""
    shapes = {}
    for tensor in proto.graph.initializer:
        _, is_model, name = tensor.name.partition("model.")
        if is_model:
            shapes[name] = [*tensor.dims]
            tensor.ClearField("raw_data")
            tensor.data_location = TensorProto.EXTERNAL
            tensor.external_data.add(key="location", value=name)
    return shapes


def main(folder: Path = GRAPHS) -> None:
    """Write the graphs of each architecture among the bundled models, the shapes that they take, and the detector's."""
    shapes: dict[str, Any] = {}
    x = torch.zeros(2, 3, IMAGE_SIZE, IMAGE_SIZE)
    for model in (load(WEIGHTS / name) for name in read_index(WEIGHTS)):
        made = {}
        if model.encodes:
            made["encoder"] = graph(Encoder(model), {"x": x}, ["z"], [0])
        if isinstance(model, PerceptualAutoencoder):
            inputs = {"x": x, "z": torch.zeros(2, model.latent_size)}
            made["slope"] = graph(Slope(model), inputs, ["error", "step"], [0])
        for part, proto in made.items():
            name, taken = f"{model.architecture}-{part}", without_weights(proto)
            if shapes.setdefault(name, taken) != taken:
                raise ValueError(f"two models with the graph {name} have other sizes: it fits one of them")
            (folder / f"{name}.onnx").write_bytes(proto.SerializeToString(deterministic=True))
    (folder / SHAPES).write_text(json.dumps(shapes, separators=(",", ":")) + "\n")
    detector = load_detector(LEAST_FACE)
    for name, side, outputs, sizes in (
        ("pnet", 30, ["box", "probabilities"], [0, 2, 3]),
        ("rnet", 24, ["box", "probabilities"], [0]),
        ("onet", 48, ["box", "landmarks", "probabilities"], [0]),
    ):
        proto = graph(getattr(detector, name), {"x": torch.zeros(2, 3, side, side + side % 24)}, outputs, sizes)
        (folder / f"{name}.onnx").write_bytes(proto.SerializeToString(deterministic=True))


if __name__ == "__main__":
    main()
