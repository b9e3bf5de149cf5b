"""A whole report about one model: what to do, how long it will take, doing it, and what came of it."""

from __future__ import annotations

import dataclasses
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import xarray as xr
from rich.console import Console
from rich.table import Table

from lossatlas.document.pdf import missing_packages
from lossatlas.execution.drawing import Drawing, draw, stale
from lossatlas.execution.estimate import Times, measure_times
from lossatlas.execution.failures import failures
from lossatlas.execution.jobs import EvaluatedPoints, Job, ThisProcess, run_jobs
from lossatlas.execution.measuring import Measurement, measure, missing, unfinished
from lossatlas.execution.progress import Progress, duration
from lossatlas.loss.few_examples import glimpse
from lossatlas.loss.loss import Loss
from lossatlas.model_report.folder import Folder
from lossatlas.model_report.plan import Plan
from lossatlas.model_report.problem import load_problem
from lossatlas.model_report.settings import Shared, settings_by_probe
from lossatlas.model_report.write import write_report
from lossatlas.numbers import loss_text
from lossatlas.probes.call import digest, seconds_of
from lossatlas.probes.probe import Subject
from lossatlas.work import Journal, Stopped, Work, working


def probe(
    address: str,
    out: Path,
    probes: Sequence[str],
    *,
    shared: Shared,
    own: Any,
    device: str | None,
    console: Console,
) -> bool:
    """Do what is asked for, or what is missing of it; whether all of it worked.

    Args:
        address: of the problem, module:object or file.py:object.
        out: folder of the report.
        probes: names of what to measure.
        shared: settings that several probes share.
        own: settings of each probe, a `ProbeSettings`.
        device: where to compute; None: where the model is.
        console: where messages go.

    Raises InputError for what cannot be used.
    """
    problem, evaluated = load_problem(address), EvaluatedPoints()
    size = sum(parameter.numel() for parameter in problem.module.parameters())
    console.print(f"{problem.title}: {size:,} parameters, reading the data", highlight=False, markup=False)
    losses = {split: loss.watched(evaluated) for split, loss in problem.losses(device=device).items()}
    first = next(iter(losses.values()))
    subject = Subject(
        losses, first.theta, problem.trajectory(first), problem.others(first), problem.states(first),
        problem.initial(first), precision=shared.precision,
    )  # fmt: skip
    folder, settings = Folder(out), settings_by_probe(shared, own)
    folder.claim(problem.title, subject, _said(shared, own))
    console.print(
        f"{problem.title}: {first.coverage}, " + ", ".join(_described(split, loss) for split, loss in losses.items()),
        highlight=False,
    )  # fmt: skip
    plan = Plan.of(subject, folder, probes=probes, settings=settings, seed=shared.seed)
    for name, why in plan.lacking.items():
        console.print(f"left out: {name} wants {why}", highlight=False, markup=False)
    todo = [*missing(plan.measurements), *unfinished(plan.measurements)]
    times = measure_times(subject, map(plan.cost, todo)) if todo else Times()
    if todo:
        _announce(plan, todo, times, console)
    else:
        console.print("nothing is left to measure")
    progress = Progress(console)
    backend = ThisProcess(evaluated, times.evaluation / len(losses))
    costs = [times.seconds(plan.cost(one)) for one in todo]
    time_left = Budget.of(shared.budget, costs)
    jobs = [Job(_measure, (plan, one, folder, time_left), cost) for one, cost in zip(todo, costs, strict=True)]
    seconds = run_jobs(backend, jobs, progress, "measuring")
    drawings = stale(plan.drawings(folder, problem.title))
    run_jobs(backend, [Job(_draw, (one,), 1.0) for one in drawings], progress, "figures")
    pages = write_report(folder, plan)
    failed = failures(folder.root)
    for name, why in failed.items():
        console.print(f"failed: {name}: {why}", highlight=False, markup=False)
    if seconds:
        console.print(f"time: {_listed(seconds)}", highlight=False)
    for page in pages:
        console.print(f"read {page}", highlight=False)
    if lacking := missing_packages():
        words = f"no report.pdf: it needs {' and '.join(lacking)}, pip install 'lossatlas[study]'"
        console.print(words, highlight=False, markup=False)
    return not failed


@dataclass
class Budget:
    """Time for several measurements, each of which has a share by its cost of what is left.

    Args:
        end: when it is over, by `time.monotonic`; None: never.
        costs: seconds of what is still to be measured, the largest first.
    """

    end: float | None
    costs: list[float]

    @classmethod
    def of(cls, budget: str | None, costs: Sequence[float]) -> Budget:
        end = None if budget is None else time.monotonic() + seconds_of(budget)
        return cls(end, sorted(costs, reverse=True))

    def deadline(self) -> float | None:
        """When the next measurement is to end."""
        own = self.costs.pop(0)
        if self.end is None:
            return None
        left = max(self.end - time.monotonic(), 0.0)
        return time.monotonic() + left * own / max(own + sum(self.costs), 1e-9)


def _measure(plan: Plan, measurement: Measurement, folder: Folder, budget: Budget) -> Mapping[str, float]:
    subject, deadline = plan.subjects[measurement.name], budget.deadline()
    about = digest((measurement.name, measurement.settings, subject.theta, subject.losses, measurement.key))
    journal = Journal(folder.journal(measurement.name), about)
    work = Work(deadline, journal)

    def answer(one: Measurement) -> xr.Dataset:
        try:
            with working(work):
                result = one.ask(subject)
        except Stopped:
            raise TimeoutError(
                f"no result in its share of the budget, after {work.evaluations:,} evaluations and {work.products:,} "
                "products: run it again with more, it goes on"
            ) from None
        return result.assign_attrs(stopped="by its share of the budget") if work.cut_short else result

    try:
        measurement.file.unlink(missing_ok=True)  # what ended before it was done
        took = measure([measurement], answer)
    finally:
        journal.close()
    if measurement.done and not work.cut_short:
        folder.journal(measurement.name).unlink(missing_ok=True)
    return {measurement.name: sum(took.values())}


def _described(split: str, loss: Loss) -> str:
    """How many examples there are, and the loss where it is quickly said."""
    part = glimpse(loss)
    value = loss_text(float(part(part.theta)))
    return f"{loss.examples:,} {split} examples, loss {value}" + (
        "" if part is loss else f" on {part.examples} of them"
    )


def _draw(drawing: Drawing) -> Mapping[str, float]:
    draw([drawing])
    return {}


def _announce(plan: Plan, todo: Sequence[Measurement], times: Times, console: Console) -> None:
    """What is to be done and about how long it takes, before it starts."""
    table = Table("probe", box=None)
    for heading in ("evaluations", "products", "about"):
        table.add_column(heading, justify="right")
    for measurement in todo:
        cost = plan.cost(measurement)
        about = duration(times.seconds(cost))
        table.add_row(measurement.name, f"{cost.evaluations or ''}", f"{cost.products or ''}", about)
    console.print(table)
    console.print(f"about {duration(sum(times.seconds(plan.cost(one)) for one in todo))} in all", highlight=False)


def _said(shared: Shared, own: Any) -> dict[str, Any]:
    """All settings as the report and the folder say them."""
    said = {name: value for name, value in vars(shared).items() if value is not None and name != "budget"}
    return said | dataclasses.asdict(own)


def _listed(seconds: Counter[str]) -> str:
    return ", ".join(f"{name} {duration(spent)}" for name, spent in seconds.items())
