"""Look-up by split, of results with and without splits."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr

from lossatlas.splits import one_split, splits

ONE = xr.Dataset({"loss": ("alpha", np.arange(3.0))})
TWO = xr.concat([ONE, 2 * ONE], xr.IndexVariable("split", ["train", "test"]))


def test_every_split_by_its_name():
    assert list(splits(TWO)) == ["train", "test"]
    np.testing.assert_array_equal(splits(TWO)["test"].loss, 2 * ONE.loss)
    assert splits(ONE) == {"": ONE}


def test_one_split_is_the_named_or_the_only_one():
    np.testing.assert_array_equal(one_split(TWO, "test").loss, 2 * ONE.loss)
    assert one_split(ONE, None) is ONE
    np.testing.assert_array_equal(one_split(TWO.isel(split=[1]), None).loss, 2 * ONE.loss)
    for split in (None, "valid"):
        with pytest.raises(ValueError, match="one surface shows one split, choose from train, test"):
            one_split(TWO, split)
