"""The folder of a study: where everything lies, and how it is written so that nothing is ever half there."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import pandas as pd
import torch
from filelock import FileLock, Timeout
from pydantic import ValidationError
from torch import Tensor

from lossatlas.errors import InputError
from lossatlas.execution.failures import all_failures
from lossatlas.files import NOT_FINITE, TEMPORARY, damaged, read_json, write_json
from lossatlas.parameters.layout import Layout
from lossatlas.probes import BY_NAME
from lossatlas.study.config import Run, Study, explain
from lossatlas.training.checkpoints import check_length, read_theta

Between = Literal["seed", "optimizer"]  # the one thing in which the runs of a pair differ


@dataclass(frozen=True)
class Store:
    """A study's results under `root`. A file has its final name only when it is complete."""

    root: Path
    study: Study

    # Where things lie ------------------------------------------------------------------------------------------

    def run_folder(self, run: Run) -> Path:
        return self.configuration_folder(run) / f"seed={run.seed}"

    def configuration_folder(self, run: Run) -> Path:
        """Of a run's configuration on one draw of the data."""
        return self._experiments(run) / f"weight_decay={run.weight_decay:g}"

    def _experiments(self, run: Run) -> Path:
        return self.root / "experiments" / _hive(run, f"data_seed={run.data_seed}")

    def figure_folder(self, run: Run) -> Path:
        return self.configuration_figure_folder(run) / f"seed={run.seed}"

    def configuration_figure_folder(self, run: Run) -> Path:
        """Weight decay is a level of the tree only where the study has more than one."""
        several = len(self.study.training.weight_decays) > 1
        return self._figures(run) / (f"weight_decay={run.weight_decay:g}" if several else "")

    def _figures(self, run: Run) -> Path:
        """Without the draw of the data: figures are of the first."""
        return self.root / "figures" / _hive(run)

    # Results of probes and their figures, by the name of the probe ---------------------------------------------

    def result_file(self, run: Run, probe: str) -> Path:
        """The result of a probe around a run."""
        return self.run_folder(run) / BY_NAME[probe].place / BY_NAME[probe].file

    def figures_of(self, run: Run, probe: str) -> Path:
        """The folder of the figures of a probe around a run."""
        return self.figure_folder(run) / BY_NAME[probe].place

    def figure_file(self, run: Run, probe: str, kind: str) -> Path:
        """A figure of a probe around a run, such as the "surface" of a "trajectory_plane"."""
        return self.figures_of(run, probe) / BY_NAME[probe].figure(kind)

    def pairs_file(self, run: Run, probe: str, *, between: Between) -> Path:
        """What a probe says of the pairs of a run and those that differ from it in their seed, or optimizer, only."""
        return self._pairs(run, probe, between) / "pairs.json"

    def pair_folder(self, a: Run, b: Run, probe: str) -> Path:
        """The results of a probe between two runs that differ in their seed only, or in their optimizer only."""
        between = what_differs(a, b)
        ends = (a.optimizer, b.optimizer) if between == "optimizer" else (f"seed={a.seed}", f"seed={b.seed}")
        return self._pairs(a, probe, between) / "_to_".join(ends)

    def pair_file(self, a: Run, b: Run, probe: str, *, aligned: bool = False) -> Path:
        """The result of a probe between two runs; `aligned`: after b's neurons were put in the order of a's."""
        file = BY_NAME[probe].file
        name = file.replace(".", "_aligned.") if aligned else file
        return self.pair_folder(a, b, probe) / name

    def pair_figures(self, a: Run, b: Run, probe: str) -> Path:
        """The folder of the figures of a probe between two runs."""
        results = self.pair_folder(a, b, probe)
        if what_differs(a, b) == "optimizer":
            return self.root / "figures" / results.relative_to(self.root / "experiments")
        return self.configuration_figure_folder(a) / results.parent.name / results.name

    def pair_figure_file(self, a: Run, b: Run, probe: str, kind: str) -> Path:
        """A figure of a probe between two runs."""
        return self.pair_figures(a, b, probe) / BY_NAME[probe].figure(kind)

    def models_file(self, run: Run, probe: str) -> Path:
        """The result of a probe about a run and its siblings."""
        return self.configuration_folder(run) / BY_NAME[probe].place / BY_NAME[probe].file

    def models_figures(self, run: Run, probe: str) -> Path:
        """The folder of the figures of a probe about a run and its siblings."""
        return self.configuration_figure_folder(run) / BY_NAME[probe].place

    def family_file(self, run: Run, probe: str) -> Path:
        """The result of a probe over the weight decays of a run's configuration."""
        return self._experiments(run) / BY_NAME[probe].place / BY_NAME[probe].file

    def family_figures(self, run: Run, probe: str) -> Path:
        """The folder of the figures of a probe over the weight decays of a run's configuration."""
        return self._figures(run) / BY_NAME[probe].place

    def family_figure_file(self, run: Run, probe: str, kind: str) -> Path:
        """A figure of a probe over the weight decays of a run's configuration."""
        return self.family_figures(run, probe) / BY_NAME[probe].figure(kind)

    def _pairs(self, run: Run, probe: str, between: Between) -> Path:
        if between == "seed":
            return self.configuration_folder(run) / BY_NAME[probe].place
        level = f"data_seed={run.data_seed}/weight_decay={run.weight_decay:g}/seed={run.seed}"
        return self.root / "experiments" / _hive(run).parent / "between_optimizers" / level / BY_NAME[probe].place

    # What is there ---------------------------------------------------------------------------------------------

    def trained(self, run: Run) -> bool:
        """Whether the run has its metrics, which are written when its whole group is complete."""
        return (self.run_folder(run) / "metrics.json").is_file()

    def metrics(self, run: Run) -> dict[str, Any]:
        written = read_json(self.run_folder(run) / "metrics.json")
        return {name: float(value) if value in NOT_FINITE else value for name, value in written.items()}

    def history(self, run: Run) -> pd.DataFrame:
        """Loss and accuracy of both splits after every epoch that was evaluated, initialization first."""
        file = self.run_folder(run) / "history.csv"
        try:
            return pd.read_csv(file)
        except (OSError, ValueError) as error:
            raise InputError(damaged(file, str(error), delete=self.run_folder(run))) from error

    def diverged(self, run: Run) -> bool:
        return self.metrics(run)["status"] == "diverged"

    def usable(self, runs: Iterable[Run]) -> list[Run]:
        """Those runs that were trained and did not diverge."""
        return [run for run in runs if self.trained(run) and not self.diverged(run)]

    def checkpoint_files(self, run: Run) -> list[Path]:
        """Every checkpoint of a run in the order of training."""
        folder = self.run_folder(run) / "checkpoints"
        return [folder / "init.safetensors", *sorted(folder.glob("epoch=*.safetensors")), folder / "final.safetensors"]

    def read_theta(self, file: Path, layout: Layout) -> Tensor:
        """θ `(P,)` from a checkpoint; InputError when the file is missing or damaged."""
        return read_theta(file, layout, delete=_run_folder_of(file))

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
                    check_length(file, delete=_run_folder_of(file))

    def all_failures(self) -> dict[Path, dict[str, str]]:
        """Every recorded failure of the study, by folder."""
        return all_failures(self.root / "experiments")


def what_differs(a: Run, b: Run) -> Between:
    """In what two runs of a pair differ."""
    return "seed" if a.optimizer == b.optimizer else "optimizer"


def _hive(run: Run, *further: str) -> Path:
    return Path(
        f"dataset={run.dataset}",
        f"arch={run.architecture}",
        f"activation={run.activation}",
        f"optimizer={run.optimizer}",
        *further,
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


def _run_folder_of(checkpoint: Path) -> Path:
    return checkpoint.parent.parent
