"""What study.bench compares with: the same networks trained and sampled as tutorials do it.

Pictures are decoded by PIL in DataLoader workers every time, images stay channels first and in float32, the networks
run as they come, and every loss is read at once.
"""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

import torch
import torch.nn.functional as F
from PIL import Image
from torch import nn
from torch.utils.data import DataLoader
from torchvision import transforms
from torchvision.datasets import ImageFolder

from models import Autoencoder, Discriminator, Generator

Network = TypeVar("Network", bound=nn.Module)


def batches(folder: Path, batch_size: int) -> Iterator[torch.Tensor]:
    """Batches (batch_size, 3, 64, 64) in [-1, 1] of the pictures in a folder's folders, epoch after epoch without end."""
    steps = (transforms.Resize(64), transforms.CenterCrop(64), transforms.RandomHorizontalFlip(), transforms.ToTensor())
    pictures = ImageFolder(str(folder), transforms.Compose([*steps, transforms.Normalize([0.5] * 3, [0.5] * 3)]))
    loader = DataLoader(pictures, batch_size, shuffle=True, num_workers=2, drop_last=True)
    while True:
        for images, _ in loader:
            yield images


def with_stock_layers(network: Network) -> Network:
    """Turn the network's own versions of the library's layers into the library's, in place."""
    for module in network.modules():
        for stock in (nn.Conv2d, nn.ConvTranspose2d):
            if isinstance(module, stock):
                module.__class__ = stock
    return network


def gan_step(faces: Iterator[torch.Tensor], device: torch.device) -> Callable[[], None]:
    """A step of the GAN, with labels of ones and zeros."""
    generator = with_stock_layers(Generator()).to(device)
    discriminator = with_stock_layers(Discriminator()).to(device)
    optimizer_g, optimizer_d = (
        torch.optim.Adam(network.parameters(), lr=0.0002, betas=(0.5, 0.999)) for network in (generator, discriminator)
    )
    criterion = nn.BCEWithLogitsLoss()

    def step() -> None:
        real = next(faces).to(device)
        ones, zeros = torch.ones(len(real), device=device), torch.zeros(len(real), device=device)
        discriminator.zero_grad()
        loss_real = criterion(discriminator(real), ones)
        loss_real.backward()
        bits = torch.randint(0, 2, (len(real), 50), device=device) * 2 - 1
        z = torch.cat([torch.randn(len(real), 50, device=device), bits], dim=1)
        fake = generator.layers(z[:, :, None, None])
        loss_fake = criterion(discriminator(fake.detach()), zeros)
        loss_fake.backward()
        optimizer_d.step()
        generator.zero_grad()
        loss_g = criterion(discriminator(fake), ones)
        loss_g.backward()
        optimizer_g.step()
        (loss_real + loss_fake).item(), loss_g.item()

    return step


def autoencoder_step(faces: Iterator[torch.Tensor], device: torch.device) -> Callable[[], None]:
    """A step of the plain autoencoder."""
    autoencoder = Autoencoder().to(device)
    optimizer = torch.optim.Adam(autoencoder.parameters(), lr=0.001)

    def step() -> None:
        images = next(faces).to(device)
        optimizer.zero_grad()
        loss = F.mse_loss(autoencoder(images), images)
        loss.backward()
        optimizer.step()
        loss.item()

    return step


@torch.no_grad()
def generate(layers: nn.Sequential, z: torch.Tensor) -> list[Image.Image]:
    """Decode latents into pictures."""
    pixels = ((layers(z) + 1) * 127.5).round().clamp(0, 255).to(torch.uint8)
    return [Image.fromarray(face.permute(1, 2, 0).numpy()) for face in pixels]
