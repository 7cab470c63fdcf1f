"""Models for `torch.hub.load("owner/latent-faces", "generator", "user/repo")`."""

dependencies = ["torch", "safetensors", "huggingface_hub", "PIL", "numpy"]


def generator(path: str, **options):
    """The GAN's generator from a folder or a Hub id; `options` as `from_pretrained` takes them."""
    from models import Generator

    return Generator.from_pretrained(path, **options)


def autoencoder(path: str, **options):
    """An autoencoder from a folder or a Hub id; `options` as `from_pretrained` takes them."""
    from models import Autoencoder

    return Autoencoder.from_pretrained(path, **options)
