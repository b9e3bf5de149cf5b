"""Data sets are read as their loader reads them, to an end, and what the loss is then of is said."""

from __future__ import annotations

import itertools
import os
import re
import warnings

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.data import (
    BatchSampler,
    ConcatDataset,
    DataLoader,
    Dataset,
    IterableDataset,
    RandomSampler,
    SequentialSampler,
    Subset,
    TensorDataset,
    WeightedRandomSampler,
    get_worker_info,
)

from lossatlas.loss import reading
from lossatlas.loss.loss import Loss

ROWS = 24


@pytest.fixture
def lines(tmp_path):
    """A file of `ROWS` lines, each its own number four times over."""
    file = tmp_path / "rows.txt"
    file.write_text("".join(f"{row:03d} {row:03d}\n" for row in range(ROWS)))
    return file


class Lines(Dataset):
    """Opens its file on first use, as readers of HDF5, LMDB and tar files do."""

    def __init__(self, path):
        self.path, self.file = path, None

    def __len__(self):
        return ROWS

    def __getitem__(self, index):
        if self.file is None:
            self.file = os.open(self.path, os.O_RDONLY)
        os.lseek(self.file, 8 * index, os.SEEK_SET)
        return torch.tensor([float(os.read(self.file, 8).split()[0])]), torch.zeros(1)


def identity():
    """Its loss on (x, 0) is the mean of x squared."""
    module = nn.Linear(1, 1, bias=False)
    nn.init.ones_(module.weight)
    return module


def mean_square(numbers):
    return float(np.mean(np.square(np.asarray(numbers, dtype=float))))


def loss_on(data, **options):
    loss = Loss.of(identity(), data, nn.MSELoss(), **options)
    return float(loss(loss.theta))


# Files, workers, samplers ---------------------------------------------------------------------------------------


@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
@pytest.mark.parametrize("workers", [0, 2])
def test_a_file_that_is_opened_on_first_use_is_not_left_open_in_this_process(lines, workers):
    for wrap in (lambda one: one, lambda one: Subset(one, range(4, ROWS)), lambda one: ConcatDataset([one, one])):
        dataset = Lines(lines)
        whole = wrap(dataset)
        expected = mean_square([float(whole[i][0]) for i in range(len(whole))])
        dataset.file = None
        assert loss_on(DataLoader(whole, 5, num_workers=workers)) == pytest.approx(expected)
        assert dataset.file is None
    dataset = Lines(lines)
    assert loss_on(dataset) == pytest.approx(mean_square(range(ROWS)))
    assert dataset.file is None


def test_a_dataset_is_made_ready_by_worker_init_fn():
    class Opened(Dataset):
        table = None

        def __len__(self):
            return ROWS

        def __getitem__(self, index):
            return self.table[index], torch.zeros(1)

    def open_table(_):
        get_worker_info().dataset.table = torch.arange(ROWS, dtype=torch.float32)[:, None]

    loader = DataLoader(Opened(), 5, num_workers=2, worker_init_fn=open_table)
    assert loss_on(loader) == pytest.approx(mean_square(range(ROWS)))


class Named(Dataset):
    def __init__(self, noise=None):
        self.rows = {f"row {i}": torch.full((1,), float(i)) for i in range(ROWS)}
        self.noise = noise

    def __len__(self):
        return ROWS

    def __getitem__(self, names):
        shift = 0 if self.noise is None else self.noise.normal()
        if isinstance(names, str):
            return self.rows[names] + shift, torch.zeros(1)
        return torch.stack([self.rows[name] for name in names]) + shift, torch.zeros(len(names), 1)


NAMES = [f"row {i}" for i in range(ROWS)]


@pytest.mark.parametrize(
    ("keywords", "count"),
    [
        ({"sampler": NAMES, "batch_size": 7}, ROWS),
        ({"sampler": [NAMES[:10], NAMES[10:]], "batch_size": None}, ROWS),
        ({"batch_sampler": [NAMES[:10], NAMES[10:]]}, ROWS),
        ({"batch_sampler": BatchSampler(NAMES[:9], 4, drop_last=False)}, 9),
    ],
)
def test_names_and_lists_are_indices_too(keywords, count):
    assert loss_on(DataLoader(Named(), **keywords)) == pytest.approx(mean_square(range(count)))
    noisy = Named(np.random.default_rng(0))
    with pytest.warns(UserWarning, match=r"differ when they are read again, a tensor of shape .*random augmentation"):
        loss_on(DataLoader(noisy, **keywords))
    assert noisy.noise.normal() == np.random.default_rng(0).normal()  # the user's own stream goes on where it was


def test_a_sampler_is_asked_once():
    x = torch.arange(ROWS, dtype=torch.float32)[:, None]
    asked = []

    class Counted(SequentialSampler):
        def __iter__(self):
            asked.append(1)
            return super().__iter__()

    dataset = TensorDataset(x, 0 * x)
    assert loss_on(DataLoader(dataset, 5, sampler=Counted(dataset))) == pytest.approx(mean_square(range(ROWS)))
    assert asked == [1]
    for once in (iter([3, 1, 2]), (i for i in (3, 1, 2))):
        assert loss_on(DataLoader(dataset, 2, sampler=once)) == pytest.approx(mean_square([3, 1, 2]))


def test_a_loader_with_persistent_workers_keeps_its_own():
    x = torch.arange(ROWS, dtype=torch.float32)[:, None]
    loader = DataLoader(TensorDataset(x, 0 * x), 5, num_workers=1, persistent_workers=True)
    next(iter(loader))
    own = loader._iterator
    assert loss_on(loader) == pytest.approx(mean_square(range(ROWS)))
    assert loader._iterator is own
    loader._iterator = None


# Randomness -------------------------------------------------------------------------------------------------------


class Augmented(Dataset):
    def __init__(self, draw):
        self.draw = draw

    def __len__(self):
        return ROWS

    def __getitem__(self, index):
        return self.draw(index)


def as_arrays(examples):
    return {"x": np.stack([example[0] for example in examples]), "y": [example[1] for example in examples]}


@pytest.mark.parametrize("workers", [0, 1])
@pytest.mark.parametrize(
    "draw",
    [
        lambda i: (i * np.ones(1, np.float32) * np.random.choice([-1, 1, 2]), i),  # noqa: NPY002
        lambda i: (np.ones(1, np.float32), i * np.random.rand()),  # noqa: NPY002
        lambda i: (np.ones(1, np.float32), int(torch.randint(1000, ()))),
    ],
)
def test_random_arrays_and_numbers_are_noticed(draw, workers):
    def forward(module, batch):
        return module(torch.as_tensor(batch["x"])), torch.as_tensor(batch["y"], dtype=torch.float32)[:, None]

    loader = DataLoader(Augmented(draw), 8, collate_fn=Arrays(), num_workers=workers)
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        with pytest.raises(ValueError, match="holds no tensor"):  # arrays are no batch, yet what is random is compared
            Loss.of(identity(), loader, nn.MSELoss(), forward=forward)
    assert not said
    told = reading.Reading(loader)
    assert len(list(told)) == 3
    assert "differ when they are read again" in told.told()[0]


class Arrays:
    def __call__(self, examples):
        return as_arrays(examples)


def test_what_cannot_be_read_twice_is_said():
    left = iter(range(ROWS))

    class Once(Dataset):
        def __len__(self):
            return ROWS

        def __getitem__(self, index):
            return torch.tensor([float(next(left))]), torch.zeros(1)

    with pytest.warns(UserWarning, match=r"cannot be read twice \(\w+\), so that random augmentation"):
        assert loss_on(DataLoader(Once(), 6)) == pytest.approx(mean_square(range(ROWS)))


# What a loader selects -----------------------------------------------------------------------------------------


def selections(dataset):
    g = torch.Generator().manual_seed(0)
    repeated = r"repeats examples .*: it gave 24, \d+ different ones of 24"
    return {
        "uniform": ({"batch_size": 5, "sampler": RandomSampler(dataset, replacement=True, generator=g)}, repeated),
        "weighted": ({"batch_size": 5, "sampler": WeightedRandomSampler(range(1, 25), 24, generator=g)}, repeated),
        "in a batch sampler": (
            {"batch_sampler": BatchSampler(RandomSampler(dataset, replacement=True, generator=g), 5, drop_last=False)},
            repeated,
        ),
        "by a list": ({"batch_size": 5, "sampler": [0, 1, 2, 2]}, "it gave 4, 3 different ones of 24"),
        "few of many": (
            {"batch_size": 1, "sampler": RandomSampler(dataset, replacement=True, num_samples=1, generator=g)},
            "it gave 1, 1 different ones of 24",
        ),
        "drop_last of a batch sampler": (
            {"batch_sampler": BatchSampler(SequentialSampler(dataset), 5, drop_last=True)}, "drops 4 of 24 examples",
        ),
        "drop_last of a subset": ({"batch_size": 4, "sampler": list(range(10)), "drop_last": True}, "drops 2 of 10"),
        "drop_last of lists": (
            {"batch_size": None, "sampler": BatchSampler(SequentialSampler(dataset), 7, drop_last=True)}, "drops 3 of",
        ),
    }  # fmt: skip


@pytest.mark.parametrize("name", selections(range(ROWS)))
def test_what_the_loss_is_of_is_said_once(name):
    x = torch.arange(ROWS, dtype=torch.float32)[:, None]
    dataset = TensorDataset(x, 0 * x)
    keywords, words = selections(dataset)[name]
    read = []
    with pytest.warns(UserWarning, match=words) as said:
        value = loss_on(DataLoader(Seen(dataset, read), **keywords))
    assert len(said) == 1
    assert said[0].filename == __file__
    given = int(re.search(r"it gave (\d+)|drops", str(said[0].message))[1] or loss_examples(keywords))
    assert value == pytest.approx(mean_square(read[:given]))  # what comes after is read to be compared


def loss_examples(keywords):
    """What is left of 24 or 10 examples."""
    return {4: 8, None: 21}.get(keywords.get("batch_size", 5), 20)


class Seen(Dataset):
    def __init__(self, dataset, read):
        self.dataset, self.read = dataset, read

    def __len__(self):
        return len(self.dataset)

    def __getitem__(self, index):
        if isinstance(index, list):
            self.read += index
            return self.dataset[index]
        self.read.append(int(index))
        return self.dataset[index]


def test_a_subset_is_no_news():
    x = torch.arange(ROWS, dtype=torch.float32)[:, None]
    dataset = TensorDataset(x, 0 * x)
    assert loss_on(DataLoader(dataset, 5, sampler=[4, 2, 9])) == pytest.approx(mean_square([4, 2, 9]))
    assert loss_on(DataLoader(dataset, 5, shuffle=True)) == pytest.approx(mean_square(range(ROWS)))
    assert loss_on(DataLoader(dataset, 6, drop_last=True)) == pytest.approx(mean_square(range(ROWS)))


# Streams ---------------------------------------------------------------------------------------------------------


class Counting(IterableDataset):
    def __init__(self, length=None, row=1):
        self.length, self.row = length, row

    def __iter__(self):
        numbers = itertools.count() if self.length is None else range(self.length)
        return ((torch.full((self.row,), float(i)), torch.zeros(self.row)) for i in numbers)


def endless():
    return ((torch.full((3, 1), float(i)), torch.zeros(3, 1)) for i in itertools.count())


class Sized:
    """Says that it has two batches, and has no end."""

    def __len__(self):
        return 2

    def __iter__(self):
        return endless()


@pytest.mark.parametrize(
    "stream",
    [Counting(), DataLoader(Counting(), 3), endless(), itertools.cycle(itertools.islice(endless(), 4)), Sized()],
)
def test_streams_without_an_end_are_not_read_for_ever(stream, monkeypatch):
    monkeypatch.setattr(reading, "ENDLESS_BATCHES", 50)
    with pytest.raises(ValueError, match=r"had no end after 51, 0 MiB: say how many to read, max_batches=50"):
        loss_on(stream)


def test_large_batches_have_a_bound_too(monkeypatch):
    monkeypatch.setattr(reading, "ENDLESS_BYTES", 10**6)
    stream = ((torch.zeros(50_000, 1), torch.zeros(50_000, 1)) for _ in itertools.count())
    with pytest.raises(ValueError, match="had no end after 3, 1 MiB"):
        loss_on(stream)
    known = [(torch.zeros(50_000, 1), torch.zeros(50_000, 1))] * 4
    assert loss_on(DataLoader(known, None)) == 0  # a length that is known is believed


@pytest.mark.parametrize(
    "make", [lambda: DataLoader(Counting(), 3), endless, lambda: list(itertools.islice(endless(), 9))]
)
def test_a_bound_cuts_and_says_so(make):
    with pytest.warns(UserWarning, match=r"stopped after max_batches=4: .* of the 12 examples read") as said:
        loss = Loss.of(identity(), make(), nn.MSELoss(), max_batches=4)
    assert loss.examples == 12
    assert said[0].filename == __file__


def test_a_bound_that_cuts_nothing_is_silent():
    assert loss_on(DataLoader(Counting(12), 3), max_batches=4) == pytest.approx(mean_square(range(12)))
    assert loss_on(itertools.islice(endless(), 4), max_batches=4) == pytest.approx(mean_square(range(4)))
    x = torch.arange(12, dtype=torch.float32)[:, None]
    assert loss_on((x, 0 * x), batch_size=3, max_batches=4) == pytest.approx(mean_square(range(12)))
    with pytest.raises(ValueError, match="max_batches is 0: wanted 1 at least"):
        loss_on((x, x), max_batches=0)


# Memory that is used again -----------------------------------------------------------------------------------------


def one_buffer():
    x, y = torch.zeros(2, 1), torch.zeros(2, 1)
    for i in range(5):
        yield x.fill_(i), y


def two_buffers_of_numpy():
    memory = np.zeros((2, 2, 1), np.float32)
    for i in range(5):
        memory[i % 2] = i
        yield torch.from_numpy(memory[i % 2]), torch.zeros(2, 1)


class Pinned:
    """A collate_fn that writes every batch to the same place."""

    place = torch.zeros(2, 1)

    def __call__(self, examples):
        return self.place.copy_(torch.stack([x for x, _ in examples])), torch.zeros(2, 1)


def test_a_batch_is_not_overwritten_by_the_next():
    for stream in (one_buffer(), two_buffers_of_numpy()):
        assert loss_on(stream) == pytest.approx(mean_square(range(5)))
    x = torch.arange(10, dtype=torch.float32)[:, None]
    assert loss_on(DataLoader(TensorDataset(x, x), 2, collate_fn=Pinned())) == pytest.approx(mean_square(range(10)))
    assert loss_on([(x, 0 * x)]) == pytest.approx(mean_square(range(10)))


def test_a_data_set_says_how_long_it_is():
    class Unsized(Dataset):
        def __getitem__(self, index):
            return torch.zeros(1), torch.zeros(1)

    with pytest.raises(ValueError, match="Unsized has no __len__"):
        loss_on(Unsized())
