"""What may stand for data, read once into a list of batches that are moved and cast when they are used."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import fields, is_dataclass, replace
from itertools import accumulate
from typing import Any, Self

import torch
from torch import Tensor
from torch.nn.utils.rnn import PackedSequence
from torch.utils._pytree import tree_flatten

Batch = Any  # a tree: tensors in tuples, lists, mappings and dataclasses, nested at will


class Batches:
    """A data set as a list of batches, in the device and precision of the loss.

    Small data are moved once; data above `budget` stay where they are and are moved batch by batch.

    Args:
        batches: trees of tensors, as `reading.read` gives them.
        device: where they are computed on.
        dtype: of floating-point tensors; None: as they are.
        budget: bytes that all of them together may take on the device.
        rows: examples of every batch; None: as `rows_of` counts them.
    """

    def __init__(
        self,
        batches: list[Batch],
        device: torch.device,
        dtype: torch.dtype | None = None,
        *,
        budget: int,
        rows: Sequence[int] | None = None,
    ) -> None:
        self._batches, self.device, self._dtype, self.budget = batches, device, dtype, budget
        self.rows = [rows_of(batch) for batch in batches] if rows is None else list(rows)
        self._resident = sum(tensor.nbytes for batch in batches for tensor in tensors_of(batch)) <= budget
        if self._resident:
            self._batches = [self._moved(batch) for batch in batches]

    def __len__(self) -> int:
        return len(self._batches)

    def __iter__(self) -> Iterator[Batch]:
        return iter(self._batches) if self._resident else map(self._moved, self._batches)

    def __getitem__(self, index: int) -> Batch:
        return self._batches[index] if self._resident else self._moved(self._batches[index])

    def largest(self) -> Batch:
        """The batch with the most examples."""
        return self[self.rows.index(max(self.rows))]

    def counted(self, rows: Sequence[int]) -> Self:
        """The same batches with so many examples, `rows`, each."""
        return type(self)(self._batches, self.device, self._dtype, budget=self.budget, rows=rows)

    @property
    def plain(self) -> bool:
        """Whether every tensor of every batch has a row for each example."""
        return all(map(has_rows, self._batches, self.rows))

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

    def vectors(self) -> list[Tensor]:
        """Every tensor with one number an example through all batches, `(examples,)` each, of data that are
        `stackable`.
        """
        columns = zip(*map(tensors_of, self._batches), strict=True)
        return [torch.cat(column).cpu() for column in columns if column[0].ndim == 1]

    def taking(self, groups: Sequence[Tensor]) -> Self:
        """A batch of each of the `groups` of examples `(n,)`, counted through all batches, which must be
        `stackable`.
        """
        taken = [_take(self._batches, self.rows, rows) for rows in groups]
        return type(self)(taken, self.device, self._dtype, budget=self.budget)

    def to(self, dtype: torch.dtype) -> Self:
        """The same batches with their floating-point tensors in `dtype`."""
        return type(self)(self._batches, self.device, dtype, budget=self.budget, rows=self.rows)

    def _moved(self, batch: Batch) -> Batch:
        def move(tensor: Tensor) -> Tensor:
            # A tensor of its own, on the same memory: a module may ask its input for a gradient.
            moved = tensor.detach().to(self.device, self._dtype if tensor.is_floating_point() else None)
            return moved.requires_grad_(tensor.requires_grad)

        return map_tensors(move, batch)


def map_tensors(function: Callable[[Tensor], Any], tree: Batch) -> Batch:
    """The same `tree` with every tensor replaced by `function` of it. What is no tensor stays; mappings become plain
    dicts.
    """
    if isinstance(tree, Tensor):
        return function(tree)
    if isinstance(tree, PackedSequence):  # torch wants the sizes on the CPU
        data, indices = function(tree.data), (tree.sorted_indices, tree.unsorted_indices)
        moved = [None if index is None else index.to(data.device) for index in indices]
        return PackedSequence(data, tree.batch_sizes, *moved) if isinstance(data, Tensor) else tree
    if isinstance(tree, Mapping):
        return {name: map_tensors(function, part) for name, part in tree.items()}
    if is_graph(tree):
        return copy.copy(tree).apply(function)
    if isinstance(tree, (tuple, list)):
        parts = [map_tensors(function, part) for part in tree]
        return type(tree)(*parts) if hasattr(tree, "_fields") else type(tree)(parts)
    if is_dataclass(tree) and not isinstance(tree, type):
        return replace(tree, **{f.name: map_tensors(function, getattr(tree, f.name)) for f in fields(tree) if f.init})
    return tree


def join(batches: Sequence[Batch], rows: Sequence[int]) -> Batch | None:
    """Batches as one: tensors one after the other, those that all examples share once. None where they do not fit.

    Args:
        batches: one at least.
        rows: examples of each.
    """
    columns = [tensors_of(batch) for batch in batches]
    if any(map(is_graph, batches)) or len({len(column) for column in columns}) > 1:
        return None
    whole: list[Tensor] = []
    for tensors in zip(*columns, strict=True):
        first = tensors[0]
        of_examples = all(one.ndim and len(one) == size for one, size in zip(tensors, rows, strict=True))
        if not of_examples and all(one.shape == first.shape and torch.equal(one, first) for one in tensors):
            whole.append(first)
        elif all(one.ndim and one.shape[1:] == first.shape[1:] for one in tensors):
            whole.append(torch.cat(tensors))
        else:
            return None
    remaining = iter(whole)
    return map_tensors(lambda _: next(remaining), batches[0])


def is_graph(tree: Any) -> bool:
    """Whether `tree` is a graph, or a batch of them, as PyTorch Geometric has them: an object with everything in it."""
    return hasattr(tree, "apply") and hasattr(tree, "to_dict")


def fresh(batch: Batch) -> Batch:
    """A copy of a `batch` that may be written to."""

    def cloned(tensor: Tensor) -> Tensor:
        clone = tensor.detach().clone()
        return clone.requires_grad_() if tensor.requires_grad else clone  # inside vmap the call itself is an error

    return map_tensors(cloned, batch)


def contents(batch: Batch) -> tuple[Any, list[Tensor]]:
    """The structure of a `batch`, and its tensors: both are others after a key is popped or a tensor is replaced."""
    return tree_flatten(batch)[1], tensors_of(batch)


def take_rows(tree: Batch, rows: Tensor, total: int) -> Batch:
    """Some `rows` of every tensor of a tree that has `total` of them, and of every list with an entry for each, such
    as the boxes of every image; the others are shared by all examples.

    Args:
        tree: a batch, an output or a target.
        rows: which, `(m,)` of int.
        total: examples that there are.
    """

    def take(tensor: Tensor) -> Tensor:
        return tensor[rows.to(tensor.device)] if tensor.ndim and len(tensor) == total else tensor

    if isinstance(tree, Mapping):
        return {name: take_rows(part, rows, total) for name, part in tree.items()}
    if isinstance(tree, (tuple, list)) and not hasattr(tree, "_fields"):
        if len(tree) == total and not any(tensor.ndim and len(tensor) == total for tensor in tensors_of(tree)):
            return type(tree)(tree[index] for index in rows.tolist())
        return type(tree)(take_rows(part, rows, total) for part in tree)
    return map_tensors(take, tree)


def tensors_of(tree: Batch) -> list[Tensor]:
    """Every tensor of a `tree`, in order."""
    tensors: list[Tensor] = []

    def keep(tensor: Tensor) -> Tensor:
        tensors.append(tensor)
        return tensor

    map_tensors(keep, tree)
    return tensors


def rows_of(batch: Batch) -> int:
    """The number of examples of a `batch`: the rows of all its tensors, or where these differ, of its target, or the
    mappings that are its target (detection).

    Where neither says it, the graphs of a batch that has such a number (PyTorch Geometric), or the rows of its first
    tensor. Raises ValueError where there is no tensor with a dimension, and where inputs and targets of a pair differ.
    """
    with_rows = [tensor for tensor in tensors_of(batch) if tensor.ndim]
    if is_pair(batch) and all(isinstance(part, Tensor) and part.ndim for part in batch):
        inputs, targets = batch
        if len(inputs) != len(targets):
            raise ValueError(
                f"a batch has {len(inputs)} inputs and {len(targets)} targets: wanted as many; where the examples do "
                "not come first in the inputs, say how many a batch has: count=lambda batch: len(batch[1])"
            )
    if _has_mapping_each(batch):
        return len(batch[1])
    if not with_rows:
        raise ValueError(
            f"{describe(batch)} holds no tensor with a dimension: wanted tensors with one row per example "
            "(torch.as_tensor makes one of an array or a list)"
        )
    if len({len(tensor) for tensor in with_rows}) == 1:
        return len(with_rows[0])
    target = _target(batch)
    if isinstance(target, Tensor) and target.ndim:
        return len(target)
    graphs = getattr(batch, "num_graphs", None)
    return graphs if isinstance(graphs, int) else len(with_rows[0])


def _target(batch: Batch) -> Any:
    """What a batch says is its target, or None."""
    if isinstance(batch, Mapping):
        return batch.get("labels")
    return batch[1] if is_pair(batch) else None


def _has_mapping_each(batch: Batch) -> bool:
    """Whether it is a pair of inputs and of a mapping for each of them, as in detection."""
    pair = isinstance(batch, (tuple, list)) and len(batch) == 2 and isinstance(batch[1], (tuple, list))
    return pair and bool(batch[1]) and all(isinstance(one, Mapping) for one in batch[1])


def has_rows(batch: Batch, rows: int) -> bool:
    """Whether `batch` is nothing but tensors with so many `rows`."""
    return all(isinstance(leaf, Tensor) and leaf.ndim and len(leaf) == rows for leaf in tree_flatten(batch)[0])


def first_rows(batch: Batch, count: int) -> Batch:
    """At most `count` examples of `batch`, where all its tensors have a row for each; else the whole."""
    tensors = tensors_of(batch)
    plain = bool(tensors) and tensors[0].ndim > 0 and has_rows(batch, len(tensors[0]))
    return cut(batch, count)[0] if plain else batch


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


def is_pair(data: Any) -> bool:
    """Whether `data` are (inputs, targets): two things of which the second is a tensor, or a tree of tensors with a row
    for each of the first, which is one.
    """
    if not isinstance(data, (tuple, list)) or len(data) != 2:
        return False
    inputs, targets = data
    if isinstance(targets, Tensor):
        return True
    several = isinstance(inputs, Tensor) and inputs.ndim and isinstance(targets, (Mapping, tuple))
    return bool(several and tensors_of(targets) and all(t.ndim and len(t) == len(inputs) for t in tensors_of(targets)))


def cut(batch: Batch, size: int | None) -> list[Batch]:
    """A `batch` in parts of `size` examples, the last one ragged; ValueError where a tensor has other rows."""
    if size is None or (rows := rows_of(batch)) <= size:
        return [batch]
    if any(tensor.ndim == 0 or len(tensor) != rows for tensor in tensors_of(batch)):
        raise ValueError(f"cannot cut {describe(batch)} by batch_size={size}: wanted {rows} rows in every tensor")

    def piece(start: int) -> Batch:
        return map_tensors(lambda tensor: tensor[start : start + size], batch)

    return [piece(start) for start in range(0, rows, size)]


def _take(batches: Sequence[Batch], counts: Sequence[int], rows: Tensor) -> Batch:
    ends = torch.tensor([*accumulate(counts)])
    owners = torch.bucketize(rows, ends, right=True)
    held = owners.unique().tolist()
    places = [rows[owners == index] - (ends[index] - counts[index]) for index in held]
    columns = zip(*(tensors_of(batches[index]) for index in held), strict=True)
    taken = (torch.cat([t[i.to(t.device)] for t, i in zip(column, places, strict=True)]) for column in columns)
    return map_tensors(lambda _: next(taken), batches[0])
