"""What stands beside the results of a study, each file read once for all tables and pages of a report."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from lossatlas.files import read_json
from lossatlas.study.config import Run
from lossatlas.study.store import Store

LINEAR = "linear_connectivity"  # the probe whose barriers these are


@dataclass(frozen=True)
class Records:
    """Metrics, failures and barriers of a store as they were when they were first asked for."""

    store: Store

    @cached_property
    def metrics(self) -> dict[Run, dict[str, Any]]:
        """What was measured at the end of training of every run that was trained."""
        return {run: self.store.metrics(run) for run in self.store.study.all_runs() if self.store.trained(run)}

    def diverged(self, run: Run) -> bool:
        return run in self.metrics and self.metrics[run]["status"] == "diverged"

    @cached_property
    def failures(self) -> dict[Path, dict[str, str]]:
        """What failed and why, by folder."""
        return self.store.all_failures()

    @cached_property
    def _barriers(self) -> dict[Path, list[dict[str, Any]]]:
        runs = self.store.study.all_runs()
        files = dict.fromkeys(file for run in runs for *_, file in self._barrier_files(run))
        return {file: read_json(file)["pairs"] if file.is_file() else [] for file in files}

    def _barrier_files(self, run: Run) -> tuple[tuple[str, str, Path], ...]:
        """The field in which two ends of a path differ, its key in the file, and the file."""
        return (
            ("seed", "seeds", self.store.pairs_file(run, LINEAR, between="seed")),
            ("optimizer", "optimizers", self.store.pairs_file(run, LINEAR, between="optimizer")),
        )

    def paths(self, run: Run) -> Iterator[tuple[Run, Run, dict[str, Any]]]:
        """Every measured path that starts or ends at a run: both its ends, and its barriers."""
        for field, key, file in self._barrier_files(run):
            for pair in self._barriers[file]:
                if getattr(run, field) in pair[key]:
                    a, b = (run.model_copy(update={field: value}) for value in pair[key])
                    yield a, b, pair
