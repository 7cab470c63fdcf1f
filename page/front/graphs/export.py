"""What a photograph meets in the visitor's browser, as ONNX graphs: the face detector, and the models' encoders.

A model's graphs are without weights: every tensor is external data under its own name, which the browser takes from the
model's safetensors file, so that one graph does for all models of a kind. The face detector's three networks
hold their weights. Written by `python -m page.front.graphs.export`, which needs `onnxscript` and `facenet-pytorch`.
"""

import json
from pathlib import Path

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

# MTCNN's networks, from "x" (faces, 3, side, side), with what each returns, in its order. "probabilities" are of no face
# and of one. The first looks at pictures of any size.
DETECTORS = (
    ("pnet", None, ["box", "probabilities"]),
    ("rnet", 24, ["box", "probabilities"]),
    ("onet", 48, ["box", "landmarks", "probabilities"]),
)

Inputs = dict[str, torch.Tensor]
Shapes = dict[str, list[int]]

AUTO = torch.export.Dim.AUTO


class Encoder(nn.Module):
    """From images (n, 3, 64, 64) to latents (n, latent_size), without the steps that `encode` may take."""

    def __init__(self, model: FaceModel):
        super().__init__()
        self.encoder = model.encoder

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.encoder(x)


class Slope(nn.Module):
    """What those steps go by: half the squared error of what latents z decode to, (n, 1), and its gradient times the
    preconditioner, (n, latent_size)."""

    def __init__(self, model: PerceptualAutoencoder):
        super().__init__()
        self.decoder, self.preconditioner = model.decoder, nn.Buffer(model.preconditioner)

    def forward(self, x: torch.Tensor, z: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        error, gradient = error_and_gradient(self.decoder, z, x)
        return error, gradient @ self.preconditioner


class _WithWeights(nn.Module):
    """A network as a function of its weights and inputs, so that the exporter computes nothing from the weights."""

    def __init__(self, network: nn.Module):
        super().__init__()
        self.networks = [network]  # In a list, it is no part of this one.

    def forward(self, weights: Inputs, inputs: tuple[torch.Tensor, ...]) -> torch.Tensor:
        return torch.func.functional_call(self.networks[0], weights, inputs)


def graph_without_weights(network: nn.Module, inputs: Inputs, outputs: list[str]) -> tuple[bytes, Shapes]:
    """A network's file, and the shape of each tensor that it takes, by its name in the model's safetensors file. `inputs`
    are examples by their names in the graph, which takes any number of faces; `outputs` are names."""
    weights = {name: tensor for name, tensor in network.state_dict().items() if tensor.is_floating_point()}
    arguments = (weights, tuple(inputs.values()))
    sizes: tuple = ({name: {} for name in weights}, tuple({0: AUTO} for _ in inputs))
    made = _exported(_WithWeights(network), arguments, [*weights, *inputs], outputs, sizes)
    for taken in [taken for taken in made.graph.input if taken.name in weights]:
        made.graph.input.remove(taken)
        shape = weights[taken.name].shape
        tensor = made.graph.initializer.add(name=taken.name, data_type=TensorProto.FLOAT, dims=shape)
        tensor.data_location = TensorProto.EXTERNAL
        tensor.external_data.add(key="location", value=taken.name)
    return made.SerializeToString(deterministic=True), {name: list(tensor.shape) for name, tensor in weights.items()}


def _exported(network: nn.Module, arguments: tuple, inputs: list[str], outputs: list[str], sizes: tuple) -> ModelProto:
    program = torch.onnx.export(
        network.eval(),
        arguments,
        input_names=inputs,
        output_names=outputs,
        dynamic_shapes=sizes,
        opset_version=18,
        verbose=False,
    )
    made = program.model_proto
    # Names of no use to a browser, and what the exporter notes for people.
    for node in made.graph.node:
        node.ClearField("name")
    for part in (made, made.graph, *made.graph.node, *made.graph.input, *made.graph.output, *made.graph.initializer):
        part.ClearField("metadata_props")
    made.graph.ClearField("value_info")
    return made


def main(folder: Path = GRAPHS) -> None:
    """Write the graphs of each kind among the bundled models, the shapes that they take, and the detector's."""
    shapes: dict[str, Shapes] = {}
    x = torch.zeros(2, 3, IMAGE_SIZE, IMAGE_SIZE)
    for model in (load(WEIGHTS / name) for name in read_index(WEIGHTS)):
        made = {}
        if model.encodes:
            made["encoder"] = graph_without_weights(Encoder(model), {"x": x}, ["z"])
        if isinstance(model, PerceptualAutoencoder):
            z = torch.zeros(2, model.latent_size)
            made["slope"] = graph_without_weights(Slope(model), {"x": x, "z": z}, ["error", "step"])
        for part, (content, taken) in made.items():
            name = f"{model.model_type}-{part}"
            if shapes.setdefault(name, taken) != taken:
                raise ValueError(f"two models with the graph {name} have other sizes: it fits one of them")
            (folder / f"{name}.onnx").write_bytes(content)
    (folder / SHAPES).write_text(json.dumps(shapes, separators=(",", ":")) + "\n")
    detectors = load_detector(LEAST_FACE)
    for name, side, outputs in DETECTORS:
        x = torch.zeros(2, 3, side or 31, side or 31)
        sizes = {0: AUTO} if side else {0: AUTO, 2: AUTO, 3: AUTO}
        made = _exported(getattr(detectors, name), (x,), ["x"], outputs, (sizes,))
        (folder / f"{name}.onnx").write_bytes(made.SerializeToString(deterministic=True))


if __name__ == "__main__":
    main()
