"""Reading a DataLoader without a trace: as it reads, its sampler asked once; what it leaves out, repeats or redraws."""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Hashable, Iterator, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, IterableDataset

REREAD = 8  # examples of a data set that are read again, to notice random augmentation; more take longer
DEEPEST = 6  # levels of a batch in which values are looked for: a bound on what refers to itself


class Reading:
    """One pass over a loader by a copy of it, with workers of its own.

    The loader's sampler is asked once, as training asks it, so that iterators are not used up by looking. Without
    workers the data set is a shallow copy, too: a file that it opens on first use is not left open in the user's, where
    workers of later training would share its position.

    Args:
        loader: the user's.
    """

    def __init__(self, loader: DataLoader) -> None:
        self._loader = loader
        self._indices = _Remembered(loader.batch_sampler if _joins(loader) else loader.sampler)

    def __iter__(self) -> Iterator[Any]:
        stream = isinstance(self._loader.dataset, IterableDataset)
        return iter(_twin(self._loader, None if stream else self._indices))

    def told(self) -> list[str]:
        """What is to be said of a pass that went to its end, a sentence each: what was selected, what is random."""
        if isinstance(self._loader.dataset, IterableDataset):  # where a stream starts again is its own affair
            return []
        return [line for line in (self._selection(), self._change()) if line]

    def _selection(self) -> str:
        """Examples that the sampler repeats or drops; those that a subset leaves out on purpose are no news."""
        sampler = getattr(self._loader.batch_sampler, "sampler", None) or self._loader.sampler
        counts = self._indices.counts
        given, different, there = counts.total(), len(counts), stated_length(self._loader.dataset)
        of = f" of {there}" if there else ""
        if getattr(sampler, "replacement", False) or given > different:
            return (
                f"the loader's sampler repeats examples (sampling with replacement?): it gave {given}, {different} "
                f"different ones{of}, and the loss is that of this draw; give a loader without a sampler for the loss "
                "on the data"
            )
        joined = self._loader.batch_sampler if _joins(self._loader) else self._loader.sampler
        offered = stated_length(getattr(joined, "sampler", None)) or there
        if getattr(joined, "drop_last", False) and given < offered:
            return (
                f"the loader drops {offered - given} of {offered} examples (drop_last=True): the loss is that of the "
                "rest; give a loader with drop_last=False"
            )
        return ""

    def _change(self) -> str:
        """Whether the first examples are others when they are read again, by one worker where the loader has any."""
        first = self._indices.first
        if not first:
            return ""
        try:
            twin = _twin(self._loader, [first[0][:REREAD] if _joins(self._loader) else first[0]] * 2, workers=1)
            once, again = map(values, twin)
        except Exception as error:  # a data set or collate_fn of the user's, whatever it wants
            return (
                f"the data cannot be read twice ({type(error).__name__}), so that random augmentation would not be "
                "noticed: one reading is kept"
            )
        place = _difference(once, again)
        if place is None:
            return ""
        return (
            f"the first examples of the data differ when they are read again, {place} (random augmentation?): one "
            "reading is kept, and the loss is that of this reading; switch the augmentation off for the loss on the "
            "data"
        )


class _Remembered:
    """A sampler that knows afterwards what it gave."""

    def __init__(self, sampler: Any) -> None:
        self._sampler = sampler
        self.first: list[Any] = []
        self.counts: Counter[Hashable] = Counter()

    def __iter__(self) -> Iterator[Any]:
        for indices in self._sampler:
            if not self.first:
                self.first.append(list(indices) if isinstance(indices, (tuple, range)) else indices)
            self.counts.update(_plain(indices))
            yield indices

    def __len__(self) -> int:
        return len(self._sampler)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._sampler, name)


def _plain(indices: Any) -> list[Hashable]:
    """Indices one by one, as values that compare: a batch's, or a single one."""
    if isinstance(indices, (Tensor, np.ndarray)):
        indices = indices.tolist()
    if not isinstance(indices, (list, tuple, range)):
        return [indices if isinstance(indices, Hashable) else repr(indices)]
    return [plain for index in indices for plain in _plain(index)]


def _joins(loader: DataLoader) -> bool:
    """Whether the loader makes batches of examples itself, by its batch sampler."""
    return loader.batch_sampler is not None


def stated_length(sized: Any) -> int:
    """How many entries something says that it has; 0 where it does not.

    Args:
        sized: a loader, a sampler, a data set, or what else is read from.
    """
    try:
        return len(sized)
    except (TypeError, NotImplementedError, AttributeError):  # samplers and streams may have no length, or one of none
        return 0


def _twin(loader: DataLoader, indices: Any, *, workers: int | None = None) -> DataLoader:
    """The same kind of loader with another sampler, if any, and workers of its own, as many at most."""
    twin = copy.copy(loader)
    count = loader.num_workers if workers is None else min(workers, loader.num_workers)
    changes: dict[str, Any] = {"_iterator": None, "persistent_workers": False, "num_workers": count}
    if indices is not None:
        changes["batch_sampler" if _joins(loader) else "sampler"] = indices
    if not count and getattr(loader.collate_fn, "__self__", None) is not loader.dataset:
        changes["dataset"] = _private_dataset(loader.dataset)
    vars(twin).update(changes)  # a loader refuses such changes by attribute, since they would confuse its workers
    return twin


def _private_dataset(dataset: Any) -> Any:
    """A shallow copy of a data set and of those inside it; itself where that cannot be had."""
    if hasattr(type(dataset), "__del__"):  # the copy would close what both hold
        return dataset
    try:
        copied = copy.copy(dataset)
        for name, value in list(vars(copied).items()):
            if isinstance(value, Dataset):
                vars(copied)[name] = _private_dataset(value)
            elif isinstance(value, (list, tuple)) and value and all(isinstance(part, Dataset) for part in value):
                vars(copied)[name] = type(value)(map(_private_dataset, value))
    except Exception:  # whatever a data set of the user's says to being copied
        return dataset
    return copied


def random_sources(data: Any) -> list[Any]:
    """Generators of random numbers that the reading of `data` draws from: a loader's, its samplers', its data set's."""
    parts = [data, *(getattr(data, name, None) for name in ("sampler", "batch_sampler", "dataset"))]
    parts += [getattr(part, name, None) for part in parts for name in ("sampler", "dataset")]
    held = [value for part in parts for value in getattr(part, "__dict__", {}).values()]
    kinds = (torch.Generator, np.random.Generator, np.random.RandomState)
    return list({id(value): value for value in held if isinstance(value, kinds)}.values())


# Comparing two readings --------------------------------------------------------------------------------------


def values(tree: Any, depth: int = DEEPEST) -> list[Any]:
    """Every tensor, array, number and word of a batch, in order, also those that objects hold as attributes.

    Args:
        tree: the batch.
        depth: levels of it that are looked into.
    """
    if isinstance(tree, Mapping):
        parts = list(tree.values())
    elif isinstance(tree, (tuple, list)):
        parts = list(tree)
    elif isinstance(tree, (Tensor, np.ndarray, type)) or not hasattr(tree, "__dict__"):
        return [tree]
    else:
        parts = list(vars(tree).values())
    return [value for part in parts for value in values(part, depth - 1)] if depth else []


def _difference(once: list[Any], again: list[Any]) -> str | None:
    """What the first value is that differs, in words; None where all are the same."""
    if len(once) != len(again):
        return f"{len(once)} values and then {len(again)}"
    return next((_kind(a) for a, b in zip(once, again, strict=True) if not _same(a, b)), None)


def _kind(value: Any) -> str:
    kind = "an array" if isinstance(value, np.ndarray) else f"a {type(value).__name__.lower()}"
    return f"{kind} of shape {tuple(value.shape)}" if isinstance(value, (Tensor, np.ndarray)) else kind


def _same(a: Any, b: Any) -> bool:
    """Equal, NaN to NaN; what is no value of numbers or words is not compared."""
    if isinstance(a, Tensor) and isinstance(b, Tensor):
        if a.layout != torch.strided or b.layout != torch.strided:
            a, b = a.to_dense(), b.to_dense()
        return a.shape == b.shape and bool(((a == b) | ((a != a) & (b != b))).all())
    if isinstance(a, (np.ndarray, np.generic)) and isinstance(b, (np.ndarray, np.generic)):
        numbers = np.issubdtype(a.dtype, np.inexact) and np.issubdtype(b.dtype, np.inexact)
        return a.shape == b.shape and bool(np.array_equal(a, b, equal_nan=numbers))
    if isinstance(a, (bool, int, float, complex, str, bytes)):
        return bool(a == b or (a != a and b != b))
    return True
