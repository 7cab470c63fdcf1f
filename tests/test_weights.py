"""The bundled models: their folders, and that they draw many faces."""

import pytest

from models import load
from models.images import from_pil
from models.index import read_index
from tests.conftest import WEIGHTS


@pytest.mark.parametrize("name", read_index(WEIGHTS))
def test_a_bundled_model_is_small_has_a_card_of_its_own_and_draws_faces_that_differ(name):
    folder, model = WEIGHTS / name, load(WEIGHTS / name)
    assert max(path.stat().st_size for path in folder.iterdir()) < 10 * 1024 * 1024
    assert (folder / "attributes.json").exists() == bool(model.attributes)
    card = (folder / "README.md").read_text()
    assert f'.from_pretrained("weights/{name}")' in card and "| data | 27,698 of CelebA-HQ's faces" in card
    # Across real faces the standard deviation is some 0.5 on this scale.
    assert from_pil(model.generate(50, seed=0)).std(0).mean() > 0.15
