"""What a photograph meets in the visitor's browser, as ONNX graphs: the face detector, and the models' encoders.

A model's graphs are without weights: every tensor is external data under its own name, which the browser takes from the
model's safetensors file, so that one graph does for all models of an architecture. The face detector's three networks
hold their weights. Written by `python -m page.front.graphs.export`, which needs `onnx` and `facenet-pytorch`.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from onnx import TensorProto, helper, numpy_helper
from torch import nn

from models import FaceModel, PerceptualAutoencoder, load
from models.alignment import LEAST_FACE, load_detector
from models.images import IMAGE_SIZE
from models.index import read_index
from models.speed import PixelConvTranspose2d

GRAPHS = Path(__file__).parent
WEIGHTS = GRAPHS.parents[2] / "weights"

# Beside the graphs: the shape of each tensor that a graph takes, by which the browser knows what to load and whether it fits.
SHAPES = "shapes.json"

IMAGES = ["faces", 3, IMAGE_SIZE, IMAGE_SIZE]

Sizes = dict[str, list[Any]]


class _Passed(NamedTuple):
    """A layer in a graph, with the names of its weights and of its output."""

    layer: nn.Module
    weights: tuple[str, ...]
    output: str


class _Graph:
    """Nodes in the order in which they are computed, in float32."""

    def __init__(self, network: nn.Module, is_whole: bool = False):
        """`is_whole`: the file holds the network's weights."""
        self.nodes: list[Any] = []
        self.tensors: list[Any] = []
        self.shapes: dict[str, list[int]] = {}
        self.parameters = network.state_dict()
        self.names = {module: name for name, module in network.named_modules()}
        self.is_whole = is_whole

    def forward(self, layers: list[nn.Module], x: str) -> list[_Passed]:
        """Add layers in their order, from an input x."""
        passed = []
        for layer, following in zip(layers, [*layers[1:], None]):
            if not isinstance(layer, nn.BatchNorm2d):
                weights = self._weights(layer, following if isinstance(following, nn.BatchNorm2d) else None)
                x = self._layer(layer, weights, x)
                passed.append(_Passed(layer, weights, x))
        return passed

    def _layer(self, layer: nn.Module, weights: tuple[str, ...], x: str) -> str:
        match layer:
            case nn.ReLU():
                return self.node("Relu", x)
            case nn.LeakyReLU():
                return self.node("LeakyRelu", x, alpha=layer.negative_slope)
            case nn.PReLU():
                return self.node("PRelu", x, *weights)
            case nn.Tanh():
                return self.node("Tanh", x)
            case nn.Softmax():
                return self.node("Softmax", x, axis=1)
            case nn.Flatten():
                return self.node("Flatten", x)
            case nn.MaxPool2d():
                size, stride = [layer.kernel_size] * 2, [layer.stride] * 2
                return self.node("MaxPool", x, kernel_shape=size, strides=stride, ceil_mode=int(layer.ceil_mode))
            case nn.Linear():
                return self.node("Gemm", x, *weights, transB=1)
            case nn.Conv2d():
                return self.node("Conv", x, *weights, **_places(layer))
            case PixelConvTranspose2d():
                x = self.node("MatMul", x, self._matrix(layer, weights))
                x = self.node("Reshape", x, self.constant(-1, layer.out_channels, *layer.kernel_size))
                return self.node("Add", x, self.node("Reshape", weights[1], self.constant(-1, 1, 1)))
            case nn.ConvTranspose2d():
                return self.node("ConvTranspose", x, *weights, **_places(layer))
        raise TypeError(f"{self.names[layer]} is a {type(layer).__name__}: no node is known for it")

    def backward(self, passed: list[_Passed], gradient: str) -> str:
        """Add the gradient of what went into layers, from the gradient of what came out of them."""
        for layer, weights, y in reversed(passed):
            match layer:
                case nn.Tanh():
                    gradient = self.node("Mul", gradient, self.node("Sub", self.number(1), self.node("Mul", y, y)))
                case nn.ReLU():
                    gradient = self.node("Where", self.node("Greater", y, self.number(0)), gradient, self.number(0))
                case nn.Conv2d():
                    gradient = self.node("ConvTranspose", gradient, weights[0], **_places(layer))
                case PixelConvTranspose2d():
                    matrix = self.node("Transpose", self._matrix(layer, weights), perm=[1, 0])
                    gradient = self.node("MatMul", self.node("Flatten", gradient), matrix)
                case nn.ConvTranspose2d():
                    gradient = self.node("Conv", gradient, weights[0], **_places(layer))
                case nn.Linear():
                    gradient = self.node("MatMul", gradient, weights[0])
                case _:
                    raise TypeError(f"{self.names[layer]} is a {type(layer).__name__}: no gradient is known of it")
        return gradient

    def _matrix(self, layer: PixelConvTranspose2d, weights: tuple[str, ...]) -> str:
        return self.node("Reshape", weights[0], self.constant(layer.in_channels, -1))

    def _weights(self, layer: nn.Module, norm: nn.BatchNorm2d | None) -> tuple[str, ...]:
        """The names of a layer's weight and bias, with the batch normalisation after it folded in."""
        own = tuple(self.parameter(f"{self.names[layer]}.{name}") for name, _ in layer.named_parameters())
        if norm is None:
            return own
        if len(own) != 1:
            raise TypeError(
                f"{self.names[layer]} has a bias, which the batch normalisation after it would subtract again"
            )
        gain, bias, mean, variance = (
            self.parameter(f"{self.names[norm]}.{of}") for of in ("weight", "bias", "running_mean", "running_var")
        )
        spread = self.node("Sqrt", self.node("Add", variance, self.number(norm.eps)))
        scale = self.node("Div", gain, spread)
        # A transposed convolution's weight is (in, out, height, width), another's (out, in, height, width).
        by_channel = (1, -1, 1, 1) if isinstance(layer, nn.ConvTranspose2d) else (-1, 1, 1, 1)
        weight = self.node("Mul", own[0], self.node("Reshape", scale, self.constant(*by_channel)))
        return weight, self.node("Sub", bias, self.node("Mul", mean, scale))

    def node(self, operator: str, *inputs: str, **attributes: Any) -> str:
        self.nodes.append(helper.make_node(operator, inputs, [f"t{len(self.nodes)}"], **attributes))
        return self.nodes[-1].output[0]

    def constant(self, *values: float, kind: type = np.int64) -> str:
        self.tensors.append(numpy_helper.from_array(np.array(values, kind), f"c{len(self.tensors)}"))
        return self.tensors[-1].name

    def number(self, value: float) -> str:
        return self.constant(value, kind=np.float32)

    def parameter(self, name: str) -> str:
        values = self.parameters[name]
        if self.is_whole:
            self.tensors.append(numpy_helper.from_array(values.numpy(), name))
            return name
        shape = self.shapes[name] = list(values.shape)
        tensor = TensorProto(name=name, data_type=TensorProto.FLOAT, dims=shape, data_location=TensorProto.EXTERNAL)
        tensor.external_data.add(key="location", value=name)
        self.tensors.append(tensor)
        return name

    def write(self, name: str, inputs: Sizes, outputs: Mapping[str, tuple[str, Sequence[Any] | None]]) -> bytes:
        """The graph as a file.

        Args:
            name: of the graph.
            inputs: the shape of each, by its name.
            outputs: for each name the output of a node, which nothing else takes, and its shape.
        """
        nodes = {node.output[0]: node for node in self.nodes}
        for called, (output, _) in outputs.items():
            nodes[output].output[0] = called
        kind = TensorProto.FLOAT
        taken = [helper.make_tensor_value_info(called, kind, shape) for called, shape in inputs.items()]
        given = [helper.make_tensor_value_info(called, kind, shape) for called, (_, shape) in outputs.items()]
        made = helper.make_graph(self.nodes, name, taken, given, self.tensors)
        whole = helper.make_model(made, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
        return whole.SerializeToString(deterministic=True)


def _places(layer: nn.Conv2d | nn.ConvTranspose2d) -> dict[str, list[int]]:
    return {"kernel_shape": [*layer.kernel_size], "strides": [*layer.stride], "pads": [*layer.padding] * 2}


def _flat(layers: nn.Sequential) -> list[nn.Module]:
    return [layer for layer in layers.modules() if not isinstance(layer, nn.Sequential)]


def encoder(model: FaceModel) -> tuple[bytes, Sizes]:
    """From "x" (faces, 3, 64, 64) in [-1, 1] to "z" (faces, latent_size), without the steps that `encode` may take.

    Returns:
        The file, and the shape of each tensor that the graph takes, by its name in the model's safetensors file.
    """
    graph = _Graph(model)
    z = graph.forward(_flat(model.encoder), "x")[-1].output
    return graph.write(model.model_type, {"x": IMAGES}, {"z": (z, ["faces", model.latent_size])}), graph.shapes


def slope(model: PerceptualAutoencoder) -> tuple[bytes, Sizes]:
    """What those steps go by: from "x" and "z" to "error" (faces, 1, 1, 1), half the squared error of what z decodes to,
    and "step" (faces, latent_size), its gradient times the preconditioner."""
    graph = _Graph(model)
    latents = ["faces", model.latent_size]
    passed = graph.forward(_flat(model.decoder), "z")
    difference = graph.node("Sub", passed[-1].output, "x")
    squares = graph.node("ReduceSumSquare", difference, graph.constant(1, 2, 3))
    error = graph.node("Mul", squares, graph.number(0.5))
    step = graph.node("MatMul", graph.backward(passed, difference), graph.parameter("preconditioner"))
    outputs = {"error": (error, ["faces", 1, 1, 1]), "step": (step, latents)}
    return graph.write(model.model_type, {"x": IMAGES, "z": latents}, outputs), graph.shapes


def detector(network: nn.Module) -> bytes:
    """One of MTCNN's three: from "x" (faces, 3, height, width) to "probabilities", of no face and of one, "box" and, by the
    last network, "landmarks"."""
    graph = _Graph(network, is_whole=True)
    layers = [*network.children()]
    trunk = 1 + max(i for i, layer in enumerate(layers) if isinstance(layer, nn.PReLU))
    x = "x"
    for before, layer in zip([None, *layers], layers[:trunk]):
        weight = f"{graph.names[layer]}.weight"
        if isinstance(before, nn.Conv2d) and isinstance(layer, nn.PReLU):
            graph.parameters[weight] = graph.parameters[weight][:, None, None]
        if isinstance(layer, nn.Linear):
            # It takes columns, rows and channels, in that order; ONNX flattens channels, rows and columns.
            graph.parameters[weight] = graph.parameters[weight].unflatten(1, (3, 3, -1)).permute(0, 3, 2, 1).flatten(1)
            x = graph.node("Flatten", x)
        x = graph.forward([layer], x)[-1].output
    outputs: list[str] = []
    for layer in layers[trunk:]:
        taken = outputs.pop() if isinstance(layer, nn.Softmax) else x
        outputs.append(graph.forward([layer], taken)[-1].output)
    named = zip(("probabilities", "box", "landmarks"), outputs)
    sizes = {"x": ["faces", 3, "height", "width"]}
    return graph.write(type(network).__name__, sizes, {name: (output, None) for name, output in named})


def main(folder: Path = GRAPHS) -> None:
    """Write the graphs of each architecture among the bundled models, the shapes that they take, and the detector's."""
    shapes: dict[str, Sizes] = {}
    for model in (load(WEIGHTS / name) for name in read_index(WEIGHTS)):
        made = {}
        if model.encodes:
            made[f"{model.architecture}-encoder"] = encoder(model)
        if isinstance(model, PerceptualAutoencoder):
            made[f"{model.architecture}-slope"] = slope(model)
        for name, (content, taken) in made.items():
            if shapes.setdefault(name, taken) != taken:
                raise ValueError(f"two models with the graph {name} have other sizes: it fits one of them")
            (folder / f"{name}.onnx").write_bytes(content)
    (folder / SHAPES).write_text(json.dumps(shapes, separators=(",", ":")) + "\n")
    detectors = load_detector(LEAST_FACE)
    for name in ("pnet", "rnet", "onet"):
        (folder / f"{name}.onnx").write_bytes(detector(getattr(detectors, name)))


if __name__ == "__main__":
    main()
