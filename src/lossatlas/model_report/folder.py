"""The folder of a report about one model: what lies where, and whose it is."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from lossatlas.errors import InputError
from lossatlas.files import known_to_json, read_json, write_json
from lossatlas.loss.batch_norm import Norm
from lossatlas.loss.few_examples import glimpse
from lossatlas.loss.loss import Loss
from lossatlas.probes.probe import Subject


@dataclass(frozen=True)
class Folder:
    """Results in `results/`, figures in `figures/`, the report beside them; a file is there only when complete."""

    root: Path

    def result(self, name: str, suffix: str) -> Path:
        return self.root / "results" / f"{name}{suffix}"

    def journal(self, name: str) -> Path:
        """What was measured for a result that is not there yet."""
        return self.root / "results" / f".{name}.journal"

    def figures(self, name: str) -> Path:
        return self.root / "figures" / name

    def claim(self, title: str, subject: Subject, settings: Mapping[str, Any]) -> None:
        """Say in `problem.json` what the folder is about.

        Raises InputError when it is about another model, other data or other settings: results are never mixed.
        """
        file = self.root / "problem.json"
        mine = known_to_json(_identity(title, subject, settings))
        if self.root.exists() and not self.root.is_dir():
            raise InputError(f"{self.root} is a file: --out wants a folder")
        if not file.is_file():
            if self.root.exists() and any(self.root.iterdir()):
                raise InputError(f"{self.root} is not empty and holds no report about a model: choose another --out")
            write_json(file, mine)
            return
        theirs = read_json(file)
        for name in mine:
            if theirs.get(name) != mine[name]:
                raise InputError(
                    f"{self.root} holds a report with {name} {_short(theirs.get(name))}, this one has "
                    f"{_short(mine[name])}: choose another --out, or delete it"
                )


def _identity(title: str, subject: Subject, settings: Mapping[str, Any]) -> dict[str, Any]:
    """Everything that the results depend on: versions, settings, weights, and the values there for the data."""
    points = {"weights": subject.theta, **subject.others}
    if subject.trajectory is not None:
        points["checkpoints"] = subject.trajectory
    for name, state in subject.states.items():
        buffers = [
            state[one].flatten().double()
            for one, buffer in subject.loss.module.named_buffers()
            if buffer.is_floating_point() and one in state
        ]
        points |= {f"buffers of {name}": torch.cat(buffers)} if buffers else {}
    return {
        "title": title,
        "versions": {package: version(package) for package in ("lossatlas", "torch", "numpy")},
        "parameters": str(subject.loss.coverage),
        "settings": settings,
        "device": subject.theta.device.type,
        "attributes": subject.loss.attrs,
        "batch_norms": sum(isinstance(part, Norm) for part in subject.loss.module.modules()),
        "weights": {name: _digest(theta) for name, theta in points.items()},
        "data": {split: loss.fingerprint().hex() for split, loss in subject.losses.items()},
        "values": {split: _values(glimpse(loss), subject.theta) for split, loss in subject.losses.items()},
        "examples": {split: loss.examples for split, loss in subject.losses.items()},
    }


def _values(loss: Loss, theta: Tensor) -> dict[str, float]:
    """Loss and metrics to the digits that another order of sums does not change."""
    return {name: float(f"{float(value):.4g}") for name, value in loss.evaluate(theta[None]).items()}


def _digest(theta: Tensor) -> str:
    """The same for the same numbers, whatever they lie on."""
    return hashlib.sha256(theta.detach().cpu().float().numpy().tobytes()).hexdigest()[:16]


def _short(value: Any) -> str:
    text = ", ".join(f"{name} {entry}" for name, entry in value.items()) if isinstance(value, Mapping) else str(value)
    return text if len(text) < 120 else f"{text[:117]}..."
