"""The training stage: what a group of runs leaves in the store."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Sequence
from importlib.metadata import version
from platform import python_version

import torch

from lossatlas.execution.failures import recording
from lossatlas.files import write_csv, write_json
from lossatlas.study.config import Run
from lossatlas.study.datasets import draws
from lossatlas.study.store import Store
from lossatlas.study.training.ensemble import Epoch, Trained, train_group
from lossatlas.training.checkpoints import write_theta


def versions() -> dict[str, str]:
    """What the numbers depend on besides the configuration."""
    return {
        "python": python_version(),
        **{package: version(package) for package in ("lossatlas", "torch", "numpy", "scipy", "scikit-learn")},
    }


def train_runs(store: Store, runs: Sequence[Run]) -> dict[str, float]:
    """Train a group and write it. A failure is recorded beside each of its runs."""
    start = time.perf_counter()
    with recording("training", *map(store.run_folder, runs)):
        _train_and_write(store, runs)
    return {"training": time.perf_counter() - start}


def _train_and_write(store: Store, runs: Sequence[Run]) -> None:
    """The metrics come last, so a group counts as trained only as a whole."""
    trained = train_group(runs, draws(runs[0].dataset, store.study.data), store.study.training)
    for member in trained:
        _write_member(store, member, group=runs)
    for member in trained:
        last = dataclasses.asdict(member.history[-1])
        write_json(
            store.run_folder(member.run) / "metrics.json",
            {
                "status": "diverged" if member.diverged else "trained",
                "epochs": last["epoch"],
                **{f"{split}_{what}": last[f"{split}_{what}"] for what in ("loss", "accuracy") for split in _SPLITS},
            },
        )


_SPLITS = ("train", "test")


def _write_member(store: Store, member: Trained, group: Sequence[Run]) -> None:
    folder = store.run_folder(member.run)
    study = store.study
    write_json(
        folder / "config.json",
        {
            **member.run.model_dump(mode="json"),
            "parameters": member.layout.size,
            "data": study.data.model_dump(mode="json", exclude={"datasets", "seeds"}),
            "training": study.training.model_dump(mode="json", exclude={"optimizers", "weight_decays", "seeds"}),
        },
    )
    write_json(
        folder / "provenance.json",
        {
            "versions": versions(),
            "device": "cpu",
            "dtype": "float32",
            "threads": torch.get_num_threads(),
            "trained_with": [str(run) for run in group if run != member.run],
        },
    )
    names = [field.name for field in dataclasses.fields(Epoch)]
    write_csv(folder / "history.csv", names, [dataclasses.astuple(epoch) for epoch in member.history])
    digits = len(str(study.training.epochs))
    for epoch, theta in member.checkpoints.items():
        name = {0: "init", max(member.checkpoints): "final"}.get(epoch, f"epoch={epoch:0{max(digits, 3)}d}")
        write_theta(folder / "checkpoints" / f"{name}.safetensors", member.layout, theta)
