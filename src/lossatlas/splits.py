"""Results of several losses: look-up by split."""

from __future__ import annotations

import xarray as xr


def splits(result: xr.Dataset) -> dict[str, xr.Dataset]:
    """The result of every split by name; `{"": result}` where there is only one loss."""
    if "split" not in result.dims:
        return {"": result}
    return {str(name): result.sel(split=name) for name in result.split.values}


def one_split(result: xr.Dataset, split: str | None) -> xr.Dataset:
    """The one split that a surface shows: the named one, or the only one there is.

    Raises ValueError where several splits are there and none is named, and where there is none of that name.
    """
    named = splits(result)
    if split is None and len(named) == 1:
        return next(iter(named.values()))
    if split not in named:
        raise ValueError(f"split is {split!r}: one surface shows one split, choose from {', '.join(named)}")
    return named[split]
