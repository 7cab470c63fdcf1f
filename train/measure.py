"""Numbers about latents and reconstructions."""

import torch


def psnr(reconstruction: torch.Tensor, images: torch.Tensor) -> torch.Tensor:
    """Peak signal-to-noise ratio of each image in dB, (n,), for images (n, 3, height, width) in [-1, 1]."""
    error = (reconstruction.float() - images.float()).square().flatten(1).mean(1)
    return 10 * torch.log10(2**2 / error)


def latent_moments(z: torch.Tensor) -> dict[str, float]:
    """Moments of latents (n, latent_size): each number's over the n faces, then averaged over the numbers.

    The kurtosis is the plain one: 3 for a normal distribution.
    """
    z = z.cpu().double()  # On the CPU, since Apple's GPUs have no float64.
    deviation = z - z.mean(0)
    variance = deviation.square().mean(0)
    return {
        "latent_mean": z.mean().item(),
        "latent_variance": z.var(0).mean().item(),
        "latent_skewness": (deviation.pow(3).mean(0) / variance**1.5).mean().item(),
        "latent_kurtosis": (deviation.pow(4).mean(0) / variance**2).mean().item(),
    }
