"""Doing what is still missing of a report about one model: measuring and drawing."""

from __future__ import annotations

import io
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

from torch import Tensor

from lossatlas.execution.progress import Progress
from lossatlas.files import read_json, write_bytes, write_json
from lossatlas.loss.loss import Loss, Points
from lossatlas.model_report.estimate import Costs
from lossatlas.model_report.folder import Folder
from lossatlas.model_report.measurements import Measurement
from lossatlas.model_report.settings import Settings
from lossatlas.random_streams import stream
from lossatlas.results.storage import read_result, write_result

DPI = 200


class TickingLoss(Loss):
    """A loss that says how many points it is asked for, as it comes to them."""

    tick: ClassVar[Callable[[int], None]] = staticmethod(lambda count: None)

    def evaluate(self, points: Points) -> dict[str, Tensor]:
        return super().evaluate(_Ticking(points, type(self).tick))


@dataclass(frozen=True)
class _Ticking:
    points: Points
    tick: Callable[[int], None]

    def __len__(self) -> int:
        return len(self.points)

    def __getitem__(self, index: slice) -> Tensor:
        chunk = self.points[index]
        self.tick(len(chunk))
        return chunk


@dataclass
class Account:
    """What the work took, and what failed of it."""

    seconds: dict[str, float] = field(default_factory=dict)
    failures: dict[str, str] = field(default_factory=dict)


def missing(folder: Folder, wanted: Sequence[Measurement]) -> list[Measurement]:
    return [measurement for measurement in wanted if not folder.result(measurement.name).is_file()]


def measure(
    folder: Folder, wanted: Sequence[Measurement], costs: Costs, settings: Settings, splits: int, progress: Progress
) -> Account:
    """Measure what is missing, each result a file of its own. What fails is recorded; the others go on."""
    account = Account(failures=read_json(folder.failures) if folder.failures.is_file() else {})
    todo = missing(folder, wanted)
    with progress.stage("measuring", len(todo), sum(map(costs.seconds, todo))) as advance:
        for measurement in todo:
            start, left = time.perf_counter(), costs.seconds(measurement)

            def tick(count: int) -> None:
                nonlocal left
                done = min(count * costs.evaluation / splits, left)
                left -= done
                advance(done, 0)

            TickingLoss.tick = tick
            try:
                result = measurement.measure(stream(settings.seed, measurement.name))
                write_result(folder.result(measurement.name), result)
                account.failures.pop(measurement.name, None)
            except OSError:
                raise  # a full disk is no property of the model
            except Exception as error:  # one probe of many: the others may well work
                account.failures[measurement.name] = f"{type(error).__name__}: {error}"
            account.seconds[measurement.name] = time.perf_counter() - start
            advance(left)
    _record(folder, account.failures)
    return account


def draw(folder: Folder, wanted: Sequence[Measurement], title: str, progress: Progress) -> None:
    """Draw every result that has no figures, or older ones."""
    todo = [measurement for measurement in wanted if _stale(folder, measurement)]
    with progress.stage("figures", len(todo), len(todo)) as advance:
        for measurement in todo:
            for name, figure in measurement.pages(read_result(folder.result(measurement.name)), title):
                image = io.BytesIO()
                figure.savefig(image, dpi=DPI, format="png", metadata={"Software": None})
                write_bytes(folder.figures(measurement.name) / name, image.getvalue())
            advance(1)


def _stale(folder: Folder, measurement: Measurement) -> bool:
    result, figures = folder.result(measurement.name), list(folder.figures(measurement.name).glob("*.png"))
    return result.is_file() and (not figures or _time(result) > min(map(_time, figures)))


def _time(file: Any) -> int:
    return file.stat().st_mtime_ns


def _record(folder: Folder, failures: dict[str, str]) -> None:
    if failures:
        write_json(folder.failures, failures)
    else:
        folder.failures.unlink(missing_ok=True)
