"""Models for `torch.hub.load("owner/latent-faces", "model", "gan")`."""

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

dependencies = ["torch", "safetensors", "huggingface_hub", "PIL", "numpy"]


def generator(path: str = "gan", **options):
    """The GAN's generator by its folder, its name here or its Hub id; `options` as `from_pretrained` takes them."""
    return _library().Generator.from_pretrained(path, **options)


def autoencoder(path: str = "autoencoder", **options):
    """An autoencoder by its folder, its name here or its Hub id; `options` as `from_pretrained` takes them."""
    return _library().Autoencoder.from_pretrained(path, **options)


def model(path: str, **options):
    """Whichever model a folder, a name here or a Hub id stands for; `options` as `from_pretrained` takes them."""
    return _library().load(path, **options)


def _library() -> ModuleType:
    """The folder `models` beside this file, under the name that it is installed by: many a project has a package of
    its own that is called `models`."""
    name, folder = "latent_faces", Path(__file__).parent / "models"
    if name not in sys.modules:
        spec = importlib.util.spec_from_file_location(
            name, folder / "__init__.py", submodule_search_locations=[str(folder)]
        )
        assert spec is not None  # As for any file that ends in .py.
        sys.modules[name] = importlib.util.module_from_spec(spec)
        try:
            spec.loader.exec_module(sys.modules[name])
        except BaseException:
            del sys.modules[name]
            raise
    return sys.modules[name]
