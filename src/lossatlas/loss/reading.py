"""Data of any kind read once, to the end or to a bound, into a list of batches that nothing else writes to."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import numpy as np
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, IterableDataset

from lossatlas.loss.batches import Batch, cut, fresh, is_graph, is_pair, rows_of
from lossatlas.loss.loaders import Reading, stated_length, values

ROWS = 256  # examples per batch where a Dataset comes without `batch_size`; more take more memory

# Batches after which a source that does not say how many it has is taken for endless. Set by hand: a loader of small
# examples takes some seconds for so many. `max_batches` moves it.
ENDLESS_BATCHES = 4096

# The same in bytes, for batches that are large: 2 GiB, which a usual machine's memory holds twice. Set by hand.
ENDLESS_BYTES = 2**31


def read(
    data: Any,
    batch_size: int | None,
    max_batches: int | None = None,
    count: Callable[[Batch], int] = rows_of,
) -> list[Batch]:
    """All batches of a pair, a mapping, a tensor, a Dataset, a DataLoader or any iterable of batches, read once.

    Warns the caller of `Loss.of` of examples that a loader drops, repeats or changes at random, and of what
    `max_batches` cuts off.

    Args:
        data: what stands for data.
        batch_size: examples that larger batches are cut to; None: they stay as they are.
        max_batches: how many are read at most; None: all, of a source without a length up to `ENDLESS_BATCHES` and
            `ENDLESS_BYTES`.
        count: examples of a batch.

    Raises:
        ValueError: nothing in it, a batch without examples, or no end.
    """
    for name, number in (("batch_size", batch_size), ("max_batches", max_batches)):
        if number is not None and number < 1:
            raise ValueError(f"{name} is {number}: wanted 1 at least")
    loader = _loader(data, batch_size)
    if loader is not None:
        reading = Reading(loader)
        batches, whole = _collected(iter(reading), max_batches, stated_length(loader))
        told = reading.told() if whole else []
    elif is_graph(data):
        batches, whole, told = [data], True, []
    elif isinstance(data, (Tensor, Mapping)) or is_pair(data):
        batches = cut(data, batch_size)
        whole, told = max_batches is None or len(batches) <= max_batches, []
        batches = batches[:max_batches]
    elif isinstance(data, (list, tuple)):
        batches, whole, told = list(data[:max_batches]), max_batches is None or len(data) <= max_batches, []
    elif isinstance(data, Iterable) and not isinstance(data, (str, bytes)):
        batches, whole = _collected(iter(data), max_batches, stated_length(data))
        told = []
    else:
        raise ValueError(
            f"the data are a {type(data).__name__}: wanted a pair (inputs, targets), a mapping of tensors, a Dataset, "
            "a DataLoader or another iterable of batches"
        )
    batches = [part for batch in batches for part in cut(batch, batch_size)]
    if not batches or not all(map(count, batches)):
        raise ValueError(
            "the data hold no examples: wanted at least one batch, with at least one example each "
            "(a generator can be read once only: make a new one)"
        )
    if not whole:
        told.append(
            f"reading stopped after max_batches={max_batches}: the loss is that of the {sum(map(count, batches)):,} "
            "examples read, and there are more"
        )
    for line in told:
        warnings.warn(line, stacklevel=4)
    return batches


def _loader(data: Any, batch_size: int | None) -> DataLoader | None:
    """What reads `data` where that is a data set or a loader."""
    if isinstance(data, DataLoader):
        return data
    if not isinstance(data, Dataset):
        return None
    if not isinstance(data, IterableDataset) and not hasattr(data, "__len__"):
        raise ValueError(f"{type(data).__name__} has no __len__: wanted a Dataset that says how many examples it has")
    shuffle = None if isinstance(data, IterableDataset) else False
    return DataLoader(data, batch_size=batch_size or ROWS, shuffle=shuffle)


def _collected(source: Iterator[Batch], most: int | None, stated: int) -> tuple[list[Batch], bool]:
    """The batches of a `source`, `most` at most, each copied before the next is asked for, and whether these are all.

    A source may write the next batch where the last one was.
    """
    batches: list[Batch] = []
    size = 0
    for batch in source:
        if most is not None and len(batches) == most:
            return batches, False
        batches.append(_with_own_arrays(fresh(batch)))
        size += sum(getattr(value, "nbytes", 0) for value in values(batches[-1]))
        many, large = len(batches) > max(ENDLESS_BATCHES, stated), size > ENDLESS_BYTES and len(batches) > stated
        if most is None and (many or large):
            says = f"say that they have {stated:,} batches" if stated else "do not say how many batches they have"
            raise ValueError(
                f"the data {says} and had no end after {len(batches):,}, {size / 2**20:,.0f} MiB: say how many to "
                f"read, max_batches={min(len(batches) - 1, 1000) or 1}, or give data with a length"
            )
    return batches, True


def _with_own_arrays(tree: Batch) -> Batch:
    if isinstance(tree, np.ndarray):
        return tree.copy()
    if isinstance(tree, dict):
        return {name: _with_own_arrays(part) for name, part in tree.items()}
    return type(tree)(map(_with_own_arrays, tree)) if type(tree) in (tuple, list) else tree
