"""Networks, pairs of them, seeds and families of a store as subjects of probes, and what is measured of each."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import torch
import xarray as xr

from lossatlas.alignment.weight_matching import align
from lossatlas.execution.failures import recording
from lossatlas.execution.measuring import Measurement, measure, missing
from lossatlas.files import write_json
from lossatlas.probes.probe import Family, Probe, Subject
from lossatlas.study import models
from lossatlas.study.config import Run
from lossatlas.study.datasets import make_task
from lossatlas.study.models import parse_architecture
from lossatlas.study.store import Store, what_differs
from lossatlas.study.training.ensemble import losses_of

Seconds = Mapping[str, float]

STREAMS = {"slice_by_weight_decay": "random_plane"}  # slices at several weight decays: the plane's own directions


@dataclass(frozen=True)
class Networks:
    """Runs of one architecture on one data set, as probes see them: their losses, and what the store has of them."""

    store: Store
    subject: Subject  # with the losses alone: θ is that of an untrained network

    @classmethod
    def like(cls, store: Store, run: Run) -> Networks:
        task = make_task(run.dataset, store.study.data, run.data_seed)
        losses = losses_of(models.build(run.architecture, run.activation, task.dimension), task)
        return cls(store, Subject(losses, next(iter(losses.values())).theta))

    def one(self, run: Run) -> Subject:
        """A run, with its whole trajectory; on draws of the data after the first with its training data alone."""
        losses = self.subject.losses
        if not self.store.study.of_first_draw(run):
            losses = {"train": losses["train"]}
        trajectory = self.store.trajectory(run, self.subject.loss.layout)  # (t, P)
        return replace(self.subject, losses=losses, theta=trajectory[-1], trajectory=trajectory)

    def with_others(self, run: Run, others: Sequence[Run]) -> Subject:
        """A run and other solutions; they are called after what sets them apart from it."""
        layout = self.subject.loss.layout
        named = {_apart(run, other): self.store.final(other, layout) for other in others}
        return replace(self.subject, theta=self.store.final(run, layout), others=named)

    def aligned(self, subject: Subject) -> Subject:
        """A pair after the other network's neurons were put in the order of the first's."""
        layout = self.subject.loss.layout
        return replace(
            subject, others={name: align(layout, subject.theta, end) for name, end in subject.others.items()}
        )

    def family(self, runs: Sequence[Run]) -> Subject:
        """Runs that differ in their weight decay only."""
        trajectories = [self.store.trajectory(run, self.subject.loss.layout) for run in runs]
        starts, ends = (torch.stack([points[k] for points in trajectories]) for k in (0, -1))  # (w, P)
        family = Family(tuple(run.weight_decay for run in runs), starts, ends)
        return replace(self.subject, theta=ends[0], family=family)


# Around each network ----------------------------------------------------------------------------------------------


def of_run(store: Store, run: Run) -> list[Measurement]:
    """What the study wants to know of one network."""
    return [
        _measurement(store, probe, store.result_file(run, probe.name), run=run, folder=store.run_folder(run))
        for probe in store.study.probes_of(run, "model", "trajectory")
    ]


def measure_run(store: Store, run: Run) -> Seconds:
    """Do the measurements of a run that are missing."""
    subject = Networks.like(store, run).one(run)
    return measure(of_run(store, run), lambda one: one.ask(subject))


# Between networks -------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Pair:
    """A measurement of two runs, which differ in their seed only or in their optimizer only."""

    measurement: Measurement
    a: Run
    b: Run
    aligned: bool


def of_pairs(store: Store, runs: Sequence[Run]) -> list[Pair]:
    """What the study wants to know of every two of these runs; with one hidden layer also after aligning neurons."""
    pairs = []
    for probe, (a, b) in itertools.product(store.study.probes_of(runs[0], "pair"), itertools.combinations(runs, 2)):
        for aligned in (False, True) if _alignable(a) else (False,):
            file = store.pair_file(a, b, probe.name, aligned=aligned)
            one = _measurement(
                store, probe, file, run=a, folder=file.parent.parent,
                other=file.parent.name + ("_aligned" if aligned else ""),
            )  # fmt: skip
            pairs.append(Pair(one, a, b, aligned))
    return pairs


def missing_pairs(store: Store, runs: Sequence[Run]) -> bool:
    """Whether something between these runs is still to be measured, or to be summed up."""
    pairs = of_pairs(store, runs)
    between = what_differs(*runs[:2])
    probes = store.study.probes_of(runs[0], "pair")
    summaries = [store.pairs_file(runs[0], probe.name, between=between) for probe in probes]
    return bool(missing(one.measurement for one in pairs)) or not all(map(Path.is_file, summaries))


def connect_runs(store: Store, runs: Sequence[Run]) -> Seconds:
    """Measure between every two of these runs, and write what each probe says of them all."""
    networks, pairs = Networks.like(store, runs[0]), of_pairs(store, runs)
    by_key = {_key(one.measurement): one for one in pairs}

    @cache
    def subject_of(probe: str, other: str) -> Subject:
        pair = by_key[probe, other]
        subject = networks.with_others(pair.a, [pair.b])
        return networks.aligned(subject) if pair.aligned else subject

    seconds = measure(
        (one.measurement for one in pairs), lambda measurement: measurement.ask(subject_of(*_key(measurement)))
    )
    for probe in store.study.probes_of(runs[0], "pair"):
        own = [one for one in pairs if one.measurement.probe is probe]
        file = store.pairs_file(runs[0], probe.name, between=what_differs(*runs[:2]))
        with recording(f"summary of {probe.name}", file.parent):
            if all(one.measurement.done for one in own):
                rows = [_summed_up(one, subject_of(*_key(one.measurement))) for one in own]
                write_json(file, {"definitions": _definitions(probe), "pairs": rows})
    return seconds


def _key(measurement: Measurement) -> tuple[str, str]:
    return measurement.probe.name, measurement.other


def _summed_up(pair: Pair, subject: Subject) -> dict[str, Any]:
    """Which pair it is, how far apart its ends are, and the probe's columns on every split."""
    result = pair.measurement.read()
    (end,) = subject.others.values()
    return {
        "pair": pair.measurement.file.parent.name,
        "seeds": [pair.a.seed, pair.b.seed],
        "optimizers": [pair.a.optimizer, pair.b.optimizer],
        "aligned": pair.aligned,
        "distance": float((subject.theta - end).norm()),
        **{
            f"{split}_{name}": column.value(result.sel(split=split))
            for name, column in pair.measurement.probe.columns.items()
            for split in subject.losses
        },
    }


def _definitions(probe: Probe) -> dict[str, str]:
    said = {
        name: probe.variables.get(name, {}).get("long_name", column.words) for name, column in probe.columns.items()
    }
    return said | {"aligned": "whether the second network's neurons were permuted to match the first's"}


def of_models(store: Store, runs: Sequence[Run]) -> list[Measurement]:
    """What the study wants to know of siblings together."""
    return [
        _measurement(
            store, probe, store.models_file(runs[0], probe.name), run=runs[0],
            folder=store.configuration_folder(runs[0]),
        )
        for probe in store.study.probes_of(runs[0], "models")
        if len(runs) > probe.fewest
    ]  # fmt: skip


def measure_models(store: Store, runs: Sequence[Run]) -> Seconds:
    """Do the measurements of siblings that are missing."""
    subject = Networks.like(store, runs[0]).with_others(runs[0], runs[1:])
    return measure(of_models(store, runs), lambda one: one.ask(subject))


# Over weight decay ------------------------------------------------------------------------------------------------


def of_family(store: Store, runs: Sequence[Run]) -> list[Measurement]:
    """What the study wants to know of networks of one configuration that differ in their weight decay."""
    found = []
    for probe in store.study.probes_of(runs[0], "family"):
        file = store.family_file(runs[0], probe.name)
        found.append(_measurement(store, probe, file, run=runs[0], folder=file.parent))
    return found


def measure_family(store: Store, runs: Sequence[Run]) -> Seconds:
    """Do the measurements of a family that are missing; `runs` are a network per weight decay, for one seed or more."""
    networks = Networks.like(store, runs[0])

    def answer(measurement: Measurement) -> xr.Dataset:
        seeds = {seed: networks.family(members) for seed, members in _by_seed(runs).items()}
        results = [
            replace(measurement, key=(*measurement.key[:1], seed, *measurement.key[2:])).ask(subject)
            for seed, subject in seeds.items()
        ]
        return xr.concat(results, dim=xr.IndexVariable("seed", list(seeds)), combine_attrs="drop_conflicts")

    return measure(of_family(store, runs), answer)


def example(store: Store, run: Run) -> Subject:
    """A subject like those of the study, of untrained networks: its costs are known before any training."""
    plain = Networks.like(store, run).subject
    points = plain.theta.expand(2 + min(store.study.training.checkpoints, store.study.training.epochs - 1), -1)
    decays = store.study.regularization.weight_decays
    stack = plain.theta.expand(len(decays), -1)
    return replace(
        plain,
        trajectory=points,
        others={f"seed {seed}": plain.theta for seed in store.study.training.seeds[1:]},
        family=Family(decays, stack, stack) if decays else None,
    )


def _measurement(store: Store, probe: Probe, file: Path, *, run: Run, folder: Path, other: str = "") -> Measurement:
    key = (run.data_seed, run.seed, STREAMS.get(probe.name, probe.name))
    settings = store.study.settings_of(run, probe)
    return Measurement(probe=probe, settings=settings, file=file, key=key, folder=folder, other=other)


def _alignable(run: Run) -> bool:
    """One hidden layer: its neurons can be matched."""
    return parse_architecture(run.architecture)[:2] == ("mlp", 1)


def _apart(run: Run, other: Run) -> str:
    """What sets another run apart."""
    return other.optimizer if other.optimizer != run.optimizer else f"seed {other.seed}"


def _by_seed(runs: Sequence[Run]) -> dict[int, list[Run]]:
    seeds: dict[int, list[Run]] = {}
    for run in runs:
        seeds.setdefault(run.seed, []).append(run)
    return seeds
