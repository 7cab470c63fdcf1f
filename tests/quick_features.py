"""Features that take no time, for tests of what is done with features."""

import torch
import torch.nn.functional as F

from study import features


def means(images: torch.Tensor, network: str) -> torch.Tensor:
    """In place of the network of faces the shades of 256 squares (n, 256), of any other the colours of 16 (n, 48)."""
    x = images.float()
    if network == features.FACE_FEATURES:
        return F.avg_pool2d(x.mean(1, keepdim=True), 4).flatten(1)
    return F.avg_pool2d(x, 16).flatten(1)


def see_quickly(patch) -> None:
    """Let commands use these features."""
    patch.setattr(features, "_extractor", lambda name: lambda images: means(images, name))
