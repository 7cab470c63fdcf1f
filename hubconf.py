"""Models for `torch.hub.load("owner/latent-faces", "model", "gan")`."""

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

dependencies = ["torch", "safetensors", "huggingface_hub", "PIL", "numpy"]


def generator(path: str = "gan", **options):
    """A GAN's generator. `path` is a folder, a bundled model's name or a Hub id; `options` are `from_pretrained`'s."""
    return _library().Generator.from_pretrained(path, **options)


def autoencoder(path: str = "autoencoder", **options):
    """An autoencoder; arguments as of `generator`."""
    return _library().Autoencoder.from_pretrained(path, **options)


def model(path: str, **options):
    """A model of any kind; arguments as of `generator`."""
    return _library().load(path, **options)


def _library() -> ModuleType:
    """The folder `models` beside this file, imported as `latent_faces`: other projects may have a package called `models`."""
    name, folder = "latent_faces", Path(__file__).parent / "models"
    if name not in sys.modules:
        spec = importlib.util.spec_from_file_location(
            name, folder / "__init__.py", submodule_search_locations=[str(folder)]
        )
        assert spec is not None  # As for any file that ends in .py.
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        sys.modules[name] = module
    return sys.modules[name]
