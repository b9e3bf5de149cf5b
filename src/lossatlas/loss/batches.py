"""What may stand for data, read once into a list of batches that are moved and cast when they are used."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import fields, is_dataclass, replace
from itertools import accumulate, pairwise
from typing import Any, Self

import torch
from torch import Tensor
from torch.utils._pytree import tree_flatten
from torch.utils.data import DataLoader, Dataset, IterableDataset

Batch = Any  # a tree: tensors in tuples, lists, mappings and dataclasses, nested at will

ROWS = 256  # examples per batch where a Dataset comes without `batch_size`; more take more memory
COMPARED = 8  # examples of a data set that are read twice, to notice random augmentation; more take longer


class Batches:
    """A data set as a list of batches, in the device and precision of the loss.

    Small data are moved once; data above `budget` stay where they are and are moved batch by batch.

    Args:
        batches: trees of tensors, as `read` gives them.
        device: where they are computed on.
        dtype: of floating-point tensors; None: as they are.
        budget: bytes that all of them together may take on the device.
    """

    def __init__(
        self, batches: list[Batch], device: torch.device, dtype: torch.dtype | None = None, *, budget: int
    ) -> None:
        self._batches, self.device, self._dtype, self._budget = batches, device, dtype, budget
        self.rows = [rows_of(batch) for batch in batches]
        self._resident = sum(tensor.nbytes for batch in batches for tensor in tensors_of(batch)) <= budget
        if self._resident:
            self._batches = [self._moved(batch) for batch in batches]

    def __len__(self) -> int:
        return len(self._batches)

    def __iter__(self) -> Iterator[Batch]:
        return iter(self._batches) if self._resident else map(self._moved, self._batches)

    def largest(self) -> Batch:
        """The batch with the most examples."""
        return self._moved(self._batches[self.rows.index(max(self.rows))])

    @property
    def stackable(self) -> bool:
        """Whether the examples could as well stand in one batch: the same tree of tensors, with a row for each."""
        kinds = []
        for rows, batch in zip(self.rows, self._batches, strict=True):
            if not has_rows(batch, rows):
                return False
            leaves, tree = tree_flatten(batch)
            kinds.append((tree, [(leaf.shape[1:], leaf.dtype) for leaf in leaves]))
        return all(kind == kinds[0] for kind in kinds)

    def taking(self, groups: Sequence[Tensor]) -> Self:
        """A batch of each of the `groups` of examples `(n,)`, counted through all batches, which must be
        `stackable`.
        """
        taken = [_take(self._batches, self.rows, rows) for rows in groups]
        return type(self)(taken, self.device, self._dtype, budget=self._budget)

    def to(self, dtype: torch.dtype) -> Self:
        """The same batches with their floating-point tensors in `dtype`."""
        return type(self)(self._batches, self.device, dtype, budget=self._budget)

    def _moved(self, batch: Batch) -> Batch:
        def move(tensor: Tensor) -> Tensor:
            return tensor.to(self.device, self._dtype if tensor.is_floating_point() else None)

        return map_tensors(move, batch)


def read(data: Any, batch_size: int | None) -> list[Batch]:
    """All batches of a pair, a mapping, a tensor, a Dataset, a DataLoader or any iterable of batches, read once.

    Args:
        data: what stands for data.
        batch_size: examples that larger batches are cut to; None: they stay as they are.

    Raises:
        ValueError: nothing in it, or a batch without examples.
    """
    if batch_size is not None and batch_size < 1:
        raise ValueError(f"batch_size is {batch_size}: wanted 1 at least")
    if isinstance(data, Dataset):
        _warn_of_change(data)
        shuffle = None if isinstance(data, IterableDataset) else False
        batches = list(DataLoader(data, batch_size=batch_size or ROWS, shuffle=shuffle))
    elif isinstance(data, (Tensor, Mapping)) or _is_pair(data):
        batches = cut(data, batch_size)
    elif isinstance(data, Iterable) and not isinstance(data, (str, bytes)):
        if isinstance(data, DataLoader):
            _warn_of_change(data.dataset)
            _warn_of_dropped(data)
        batches = [part for batch in data for part in cut(batch, batch_size)]
    else:
        raise ValueError(
            f"the data are a {type(data).__name__}: wanted a pair (inputs, targets), a mapping of tensors, a Dataset, "
            "a DataLoader or another iterable of batches"
        )
    if not batches or not all(map(rows_of, batches)):
        raise ValueError(
            "the data hold no examples: wanted at least one batch, with at least one example each "
            "(a generator can be read once only: make a new one)"
        )
    return batches


def map_tensors(function: Callable[[Tensor], Any], tree: Batch) -> Batch:
    """The same `tree` with every tensor replaced by `function` of it. What is no tensor stays; mappings become plain
    dicts.
    """
    if isinstance(tree, Tensor):
        return function(tree)
    if isinstance(tree, Mapping):
        return {name: map_tensors(function, part) for name, part in tree.items()}
    if isinstance(tree, (tuple, list)):
        parts = [map_tensors(function, part) for part in tree]
        return type(tree)(*parts) if hasattr(tree, "_fields") else type(tree)(parts)
    if is_dataclass(tree) and not isinstance(tree, type):
        return replace(tree, **{f.name: map_tensors(function, getattr(tree, f.name)) for f in fields(tree) if f.init})
    return tree


def tensors_of(tree: Batch) -> list[Tensor]:
    """Every tensor of a `tree`, in order."""
    tensors: list[Tensor] = []

    def keep(tensor: Tensor) -> Tensor:
        tensors.append(tensor)
        return tensor

    map_tensors(keep, tree)
    return tensors


def rows_of(batch: Batch) -> int:
    """The number of examples of a `batch`: the first dimension of its first tensor that has one.

    Raises ValueError where there is none, and where inputs and targets of a pair differ.
    """
    with_rows = [tensor for tensor in tensors_of(batch) if tensor.ndim]
    if _is_pair(batch) and all(isinstance(part, Tensor) and part.ndim for part in batch):
        inputs, targets = batch
        if len(inputs) != len(targets):
            raise ValueError(f"a batch has {len(inputs)} inputs and {len(targets)} targets: wanted as many")
    if not with_rows:
        raise ValueError(
            f"{describe(batch)} holds no tensor with a dimension: wanted tensors with one row per example "
            "(torch.as_tensor makes one of an array or a list)"
        )
    return len(with_rows[0])


def has_rows(batch: Batch, rows: int) -> bool:
    """Whether `batch` is nothing but tensors with so many `rows`."""
    return all(isinstance(leaf, Tensor) and leaf.ndim and len(leaf) == rows for leaf in tree_flatten(batch)[0])


def first_rows(batch: Batch, count: int) -> Batch:
    """At most `count` examples of `batch`, where all its tensors have a row for each; else the whole."""
    return cut(batch, count)[0] if has_rows(batch, rows_of(batch)) else batch


def describe(tree: Batch) -> str:
    """Kinds, shapes and types of a `tree` in one line, for messages.

    >>> describe((torch.zeros(3, 2), {"labels": torch.zeros(3, dtype=torch.int64)}))
    '(float32 (3, 2), {labels: int64 (3,)})'
    """
    if isinstance(tree, Tensor):
        return f"{str(tree.dtype).removeprefix('torch.')} {tuple(tree.shape)}"
    if isinstance(tree, Mapping):
        return "{" + ", ".join(f"{name}: {describe(part)}" for name, part in tree.items()) + "}"
    if isinstance(tree, (tuple, list)):
        return "(" + ", ".join(map(describe, tree)) + ("," if len(tree) == 1 else "") + ")"
    return type(tree).__name__


def _is_pair(data: Any) -> bool:
    """(inputs, targets): two things of which the second is a tensor."""
    return isinstance(data, (tuple, list)) and len(data) == 2 and isinstance(data[1], Tensor)


def cut(batch: Batch, size: int | None) -> list[Batch]:
    """A `batch` in parts of `size` examples, the last one ragged; ValueError where a tensor has other rows."""
    rows = rows_of(batch)
    if size is None or rows <= size:
        return [batch]
    if any(tensor.ndim == 0 or len(tensor) != rows for tensor in tensors_of(batch)):
        raise ValueError(f"cannot cut {describe(batch)} by batch_size={size}: wanted {rows} rows in every tensor")

    def piece(start: int) -> Batch:
        return map_tensors(lambda tensor: tensor[start : start + size], batch)

    return [piece(start) for start in range(0, rows, size)]


def _take(batches: Sequence[Batch], counts: Sequence[int], rows: Tensor) -> Batch:
    starts = [0, *accumulate(counts)]
    places = [rows[(rows >= a) & (rows < b)] - a for a, b in pairwise(starts)]
    columns = zip(*map(tensors_of, batches), strict=True)
    taken = (torch.cat([t[i.to(t.device)] for t, i in zip(column, places, strict=True)]) for column in columns)
    return map_tensors(lambda _: next(taken), batches[0])


def _warn_of_dropped(loader: DataLoader) -> None:
    size = loader.batch_size
    if not (loader.drop_last and size) or isinstance(loader.dataset, IterableDataset):
        return
    dropped = len(loader.sampler) % size  # type: ignore[arg-type]
    if dropped:
        warnings.warn(
            f"the loader drops {dropped} of {len(loader.sampler)} examples (drop_last=True): "  # type: ignore[arg-type]
            "the loss is that of the rest; give a loader with drop_last=False",
            stacklevel=5,
        )


def _warn_of_change(dataset: Any) -> None:
    """Say so when reading an example a second time gives other values."""
    if isinstance(dataset, IterableDataset) or not hasattr(dataset, "__len__"):
        return
    for index in range(min(COMPARED, len(dataset))):
        once, again = tensors_of(dataset[index]), tensors_of(dataset[index])
        if any(not _same(a, b) for a, b in zip(once, again, strict=False)):
            warnings.warn(
                f"example {index} of the data differs when it is read again (random augmentation?): one reading is "
                "kept, and the loss is that of this reading; switch the augmentation off for the loss on the data",
                stacklevel=5,
            )
            return


def _same(a: Tensor, b: Tensor) -> bool:
    return a.shape == b.shape and bool(((a == b) | ((a != a) & (b != b))).all())
