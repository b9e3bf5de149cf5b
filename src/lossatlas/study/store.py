"""The folder of a study: where everything lies, and how it is written so that nothing is ever half there."""

from __future__ import annotations

import errno
import json
import os
import struct
import traceback
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from filelock import FileLock, Timeout
from pydantic import ValidationError
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from lossatlas.errors import InputError
from lossatlas.files import NOT_FINITE, TEMPORARY, damaged, read_json, write_json
from lossatlas.parameters.layout import Layout
from lossatlas.study.config import Run, Study, explain


@dataclass(frozen=True)
class Store:
    """A study's results under `root`. A file has its final name only when it is complete."""

    root: Path
    study: Study

    # Where things lie ------------------------------------------------------------------------------------------

    def run_folder(self, run: Run) -> Path:
        return self.configuration_folder(run) / f"seed={run.seed}"

    def configuration_folder(self, run: Run) -> Path:
        return self.root / "experiments" / _hive(run) / f"weight_decay={run.weight_decay:g}"

    def figure_folder(self, run: Run) -> Path:
        return self.configuration_figure_folder(run) / f"seed={run.seed}"

    def configuration_figure_folder(self, run: Run) -> Path:
        """Weight decay is a level of the tree only where the study has more than one."""
        folder = self.root / "figures" / _hive(run)
        several = len(self.study.training.weight_decays) > 1
        return folder / f"weight_decay={run.weight_decay:g}" if several else folder

    def pair_folder(self, a: Run, b: Run) -> Path:
        """The path between two runs that differ in their seed only, or in their optimizer only."""
        if a.optimizer == b.optimizer:
            return self.barriers_file(a).parent / f"seed={a.seed}_to_seed={b.seed}"
        return self.optimizer_barriers_file(a).parent / f"{a.optimizer}_to_{b.optimizer}"

    def pair_figure_folder(self, a: Run, b: Run) -> Path:
        results = self.pair_folder(a, b)
        if a.optimizer == b.optimizer:
            return self.configuration_figure_folder(a) / "connectivity" / results.name
        return self.root / "figures" / results.relative_to(self.root / "experiments")

    def barriers_file(self, run: Run) -> Path:
        """The barriers between every two seeds of a run's configuration."""
        return self.configuration_folder(run) / "connectivity" / "barriers.json"

    def optimizer_barriers_file(self, run: Run) -> Path:
        """The barriers between a run and those that differ from it in their optimizer only."""
        level = _hive(run).parent / "between_optimizers" / f"weight_decay={run.weight_decay:g}" / f"seed={run.seed}"
        return self.root / "experiments" / level / "barriers.json"

    def regularization_folder(self, run: Run) -> Path:
        return self.root / "experiments" / _hive(run) / "regularization"

    def regularization_figure_folder(self, run: Run) -> Path:
        return self.root / "figures" / _hive(run) / "regularization"

    # What is there ---------------------------------------------------------------------------------------------

    def trained(self, run: Run) -> bool:
        """Whether the run has its metrics, which are written when its whole group is complete."""
        return (self.run_folder(run) / "metrics.json").is_file()

    def metrics(self, run: Run) -> dict[str, Any]:
        written = read_json(self.run_folder(run) / "metrics.json")
        return {name: float(value) if value in NOT_FINITE else value for name, value in written.items()}

    def diverged(self, run: Run) -> bool:
        return self.metrics(run)["status"] == "diverged"

    def converged(self, runs: Iterable[Run]) -> list[Run]:
        """Those runs that were trained and did not diverge."""
        return [run for run in runs if self.trained(run) and not self.diverged(run)]

    def checkpoint_files(self, run: Run) -> list[Path]:
        """Every checkpoint of a run in the order of training."""
        folder = self.run_folder(run) / "checkpoints"
        return [folder / "init.safetensors", *sorted(folder.glob("epoch=*.safetensors")), folder / "final.safetensors"]

    def read_theta(self, file: Path, layout: Layout) -> Tensor:
        """θ `(P,)` from a checkpoint; InputError when the file is damaged."""
        try:
            return layout.flatten(load_file(file))
        except FileNotFoundError as error:
            raise InputError(f"{file} is missing: delete {_run_folder_of(file)} and run again") from error
        except (SafetensorError, ValueError, OSError) as error:
            raise InputError(damaged(file, str(error), delete=_run_folder_of(file))) from error

    def trajectory(self, run: Run, layout: Layout) -> Tensor:
        """Every checkpoint of a run, `(t, P)`, in the order of training."""
        return torch.stack([self.read_theta(file, layout) for file in self.checkpoint_files(run)])

    def final(self, run: Run, layout: Layout) -> Tensor:
        """θ at the end of training, `(P,)`."""
        return self.read_theta(self.checkpoint_files(run)[-1], layout)

    def check_checkpoints(self) -> None:
        """Raise InputError for the first checkpoint whose length is not what its own header says."""
        for run in self.study.all_runs():
            if self.trained(run):
                for file in self.checkpoint_files(run):
                    _check_length(file)

    # Failures --------------------------------------------------------------------------------------------------

    @contextmanager
    def recording(self, what: str, *folders: Path) -> Iterator[None]:
        """Let work on some runs fail alone: the failure is recorded in their folders, and a success forgets it.

        What stops the whole study passes through: damaged input, and a full disk.
        """
        try:
            yield
        except InputError:
            raise
        except Exception as error:
            if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
                raise
            place = traceback.extract_tb(error.__traceback__)[-1]
            message = f"{type(error).__name__}: {error} ({Path(place.filename).name}, line {place.lineno})"
            for folder in folders:
                self._write_failures(folder, {**self.failures(folder), what: message})
        else:
            for folder in folders:
                if what in (known := self.failures(folder)):
                    self._write_failures(folder, {name: text for name, text in known.items() if name != what})

    def failures(self, folder: Path) -> dict[str, str]:
        """What failed in the folder of a run or of its configuration's connectivity, and why."""
        file = folder / "failures.json"
        return read_json(file) if file.is_file() else {}

    def all_failures(self) -> dict[Path, dict[str, str]]:
        """Every recorded failure of the study, by folder."""
        folders = sorted(file.parent for file in (self.root / "experiments").rglob("failures.json"))
        return {folder: self.failures(folder) for folder in folders}

    def _write_failures(self, folder: Path, failures: dict[str, str]) -> None:
        if failures:
            write_json(folder / "failures.json", failures)
        else:
            (folder / "failures.json").unlink(missing_ok=True)


def _hive(run: Run) -> Path:
    return Path(
        f"dataset={run.dataset}",
        f"arch={run.architecture}",
        f"activation={run.activation}",
        f"optimizer={run.optimizer}",
    )


# Opening a store -----------------------------------------------------------------------------------------------


def open_store(root: Path) -> Store:
    """The store that is already at `root`; InputError when there is none or it cannot be read."""
    file = root / "study.json"
    if not file.is_file():
        raise InputError(f"{root} holds no study (no study.json there): wanted the --out folder of `lossatlas run`")
    try:
        return Store(root, Study.model_validate(read_json(file)["study"]))
    except (KeyError, TypeError) as error:
        raise InputError(damaged(file, "it holds no study")) from error
    except ValidationError as error:
        raise InputError(damaged(file, explain(error))) from error


@contextmanager
def claim(root: Path, study: Study, versions: Mapping[str, str] | None) -> Iterator[Store]:
    """Make or continue the store at `root`, for this process alone.

    Raises InputError when the folder cannot be written, is in use, holds another study, or was measured with other
    versions: results of two would be mixed. Where nothing is measured, `versions` is None.
    """
    try:
        root.mkdir(parents=True, exist_ok=True)
        lock = FileLock(root / ".lock", timeout=0)
        lock.acquire()
    except Timeout as error:
        raise InputError(
            f"{root} is being written by another lossatlas: wait for it, or choose another --out"
        ) from error
    except OSError as error:
        raise InputError(f"cannot write to {root} ({error.strerror}): choose another folder with --out") from error
    try:
        file = root / "study.json"
        if file.is_file():
            _same(root, "a study with", open_store(root).study.model_dump(mode="json"), study.model_dump(mode="json"))
            if versions is not None:
                _same(root, "results of", read_json(file).get("versions", {}), versions)
        else:
            write_json(file, {"study": study.model_dump(mode="json"), "versions": dict(versions or {})})
        for leftover in root.rglob(f"*{TEMPORARY}"):  # of a process that was killed while writing
            leftover.unlink(missing_ok=True)
        yield Store(root, study)
    finally:
        lock.release()


def _same(root: Path, what: str, there: Mapping[str, Any], here: Mapping[str, Any]) -> None:
    old, new = dict(_leaves(there)), dict(_leaves(here))
    for field in [*new, *old]:
        if old.get(field) != new.get(field):
            raise InputError(
                f"{root} holds {what} {field} = {old.get(field)!r}, this one has {new.get(field)!r}: "
                "choose another --out, or the settings it was made with"
            )


def _leaves(fields: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in fields.items():
        if isinstance(value, Mapping):
            yield from _leaves(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


# Checkpoints ---------------------------------------------------------------------------------------------------


def _check_length(file: Path) -> None:
    try:
        with file.open("rb") as opened:
            size = os.fstat(opened.fileno()).st_size
            (header_length,) = struct.unpack("<Q", opened.read(8))
            header = json.loads(opened.read(min(header_length, size)))
            stop = max(entry["data_offsets"][1] for name, entry in header.items() if name != "__metadata__")
    except FileNotFoundError as error:
        raise InputError(f"{file} is missing: delete {_run_folder_of(file)} and run again") from error
    except (struct.error, ValueError, AttributeError, KeyError, TypeError) as error:
        raise InputError(damaged(file, "its header cannot be read", delete=_run_folder_of(file))) from error
    wanted = 8 + header_length + stop
    if size != wanted:
        raise InputError(damaged(file, f"wanted {wanted} bytes, got {size}", delete=_run_folder_of(file)))


def _run_folder_of(checkpoint: Path) -> Path:
    return checkpoint.parent.parent
