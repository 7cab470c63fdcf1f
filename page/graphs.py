"""The decoders as ONNX graphs without weights, which the page's script runs in the visitor's browser.

One file for each architecture: every tensor is external data under its own name, which the browser takes from the
model's safetensors file. Written by `python -m page.graphs`, which needs `onnx`.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np
from onnx import TensorProto, helper, numpy_helper
from torch import nn

from models import AttributeGenerator, FaceModel, load
from models.images import IMAGE_SIZE
from models.index import read_index
from models.speed import PixelConvTranspose2d

ROOT = Path(__file__).parent.parent
GRAPHS = ROOT / "page/front/graphs"

# Beside the graphs: the shape of each tensor that a graph takes, by which the browser knows what to load and whether it fits.
SHAPES = "shapes.json"


class _Graph:
    """A decoder's nodes, in the order in which they are computed, from "z" to "x", in float32."""

    def __init__(self, model: FaceModel):
        self.nodes: list[Any] = []
        self.tensors: list[Any] = []
        self.shapes: dict[str, list[int]] = {}
        self.parameters = model.state_dict()
        names = {module: name for name, module in model.named_modules()}
        layers = [layer for layer in model.decoder_layers.modules() if not isinstance(layer, nn.Sequential)]
        x = "z"
        for layer, following in zip(layers, [*layers[1:], None]):
            norm = following if isinstance(following, nn.BatchNorm2d) else None
            if not isinstance(layer, nn.BatchNorm2d):
                x = self._layer(layer, names[layer], norm, names.get(norm, ""), x)
        self.nodes[-1].output[0] = "x"

    def _layer(self, layer: nn.Module, name: str, norm: nn.BatchNorm2d | None, norm_name: str, x: str) -> str:
        match layer:
            case nn.ReLU():
                return self._node("Relu", x)
            case nn.Tanh():
                return self._node("Tanh", x)
            case nn.Unflatten():
                return self._node("Reshape", x, self._constant(-1, *layer.unflattened_size))
            case nn.Linear():
                return self._node("Gemm", x, self._parameter(name, "weight"), self._parameter(name, "bias"), transB=1)
            case nn.Conv2d():
                weight, bias = self._parameter(name, "weight"), self._parameter(name, "bias")
                return self._node("Conv", x, weight, bias, **_places(layer))
            case nn.ConvTranspose2d():
                weight, shift = self._folded(layer, name, norm, norm_name)
                if not isinstance(layer, PixelConvTranspose2d):
                    return self._node("ConvTranspose", x, weight, shift, **_places(layer))
                x = self._node("MatMul", x, self._node("Reshape", weight, self._constant(layer.in_channels, -1)))
                x = self._node("Reshape", x, self._constant(-1, layer.out_channels, *layer.kernel_size))
                return self._node("Add", x, self._node("Reshape", shift, self._constant(-1, 1, 1)))
        raise TypeError(f"{name} is a {type(layer).__name__}: no node is known for it")

    def _folded(
        self, layer: nn.ConvTranspose2d, name: str, norm: nn.BatchNorm2d | None, norm_name: str
    ) -> tuple[str, str]:
        """A transposed convolution's weight and bias, with the batch normalisation after it folded in."""
        weight = self._parameter(name, "weight")
        if norm is None:
            return weight, self._parameter(name, "bias")
        if layer.bias is not None:
            raise TypeError(f"{name} has a bias, which the batch normalisation after it would subtract again")
        gain, bias, mean, variance = (
            self._parameter(norm_name, of) for of in ("weight", "bias", "running_mean", "running_var")
        )
        spread = self._node("Sqrt", self._node("Add", variance, self._constant(norm.eps, kind=np.float32)))
        scale = self._node("Div", gain, spread)
        by_channel = self._node("Reshape", scale, self._constant(1, -1, 1, 1))
        return self._node("Mul", weight, by_channel), self._node("Sub", bias, self._node("Mul", mean, scale))

    def _node(self, operator: str, *inputs: str, **attributes: Any) -> str:
        self.nodes.append(helper.make_node(operator, inputs, [f"t{len(self.nodes)}"], **attributes))
        return self.nodes[-1].output[0]

    def _constant(self, *values: float, kind: type = np.int64) -> str:
        self.tensors.append(numpy_helper.from_array(np.array(values, kind), f"c{len(self.tensors)}"))
        return self.tensors[-1].name

    def _parameter(self, layer: str, of: str) -> str:
        name = f"{layer}.{of}"
        shape = self.shapes[name] = list(self.parameters[name].shape)
        tensor = TensorProto(name=name, data_type=TensorProto.FLOAT, dims=shape, data_location=TensorProto.EXTERNAL)
        tensor.external_data.add(key="location", value=name)
        self.tensors.append(tensor)
        return name


def _places(layer: nn.Conv2d | nn.ConvTranspose2d) -> dict[str, list[int]]:
    return {"kernel_shape": [*layer.kernel_size], "strides": [*layer.stride], "pads": [*layer.padding] * 2}


def graph(model: FaceModel) -> tuple[bytes, dict[str, list[int]]]:
    """A model's decoder, from "z" (faces, latent_size) to "x" (faces, 3, 64, 64) in [-1, 1], and the shape of each tensor
    that it takes, by its name in the model's safetensors file."""
    graph = _Graph(model)
    z = helper.make_tensor_value_info("z", TensorProto.FLOAT, ["faces", model.latent_size])
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["faces", 3, IMAGE_SIZE, IMAGE_SIZE])
    made = helper.make_graph(graph.nodes, model.model_type, [z], [x], graph.tensors)
    whole = helper.make_model(made, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    return whole.SerializeToString(deterministic=True), graph.shapes


def main(folder: Path = GRAPHS) -> None:
    """Write a graph for each architecture among the bundled models, and the shapes of all."""
    shapes: dict[str, dict[str, list[int]]] = {}
    # The attribute GAN also as training leaves it, before its bits are made stronger.
    for model in [AttributeGenerator(), *(load(ROOT / "weights" / name) for name in read_index(ROOT / "weights"))]:
        content, taken = graph(model)
        if shapes.setdefault(model.architecture, taken) != taken:
            raise ValueError(f"two of the {model.architecture} have other sizes: a graph fits one of them")
        (folder / f"{model.architecture}.onnx").write_bytes(content)
    (folder / SHAPES).write_text(json.dumps(shapes, separators=(",", ":")) + "\n")


if __name__ == "__main__":
    main()
