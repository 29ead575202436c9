"""Which images a classifier was trained on, as its bundle remembers them."""

from pathlib import Path

import numpy as np
import pytest

from reconv.data.arrays import PreparedData
from reconv.errors import DataError
from reconv.files import read_arrays, write_arrays
from reconv.registry.reference import Reference, content_hashes, load_reference, reference_of, save_reference
from reconv.serving.bundle import REFERENCE


@pytest.fixture
def saved(prepared: PreparedData) -> Reference:
    """In the current folder."""
    reference = reference_of(prepared, np.ones(len(prepared.test)))
    save_reference(reference, Path())
    return reference


def test_validation_images_are_development_images_that_it_was_not_trained_on(saved, prepared) -> None:
    found = load_reference(Path())

    assert set(found.trained) == set(content_hashes(prepared.train.images))
    assert set(found.validation) == set(content_hashes(prepared.validation.images))
    assert set(found.development) == set(found.trained) | set(found.validation)


def test_by_an_earlier_reconv_it_may_have_been_trained_on_all_development_images(saved) -> None:
    arrays = read_arrays(Path(REFERENCE))
    write_arrays(Path(REFERENCE), {name: array for name, array in arrays.items() if name != "validation"})

    found = load_reference(Path())

    assert len(found.validation) == 0
    assert (found.trained == saved.development).all()


def test_anything_else_that_is_missing_is_damage(saved) -> None:
    arrays = read_arrays(Path(REFERENCE))
    write_arrays(Path(REFERENCE), {name: array for name, array in arrays.items() if name != "test"})

    with pytest.raises(DataError, match=r"is damaged \(test\)"):
        load_reference(Path())
