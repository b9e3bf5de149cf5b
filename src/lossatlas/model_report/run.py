"""A whole report about one model: what to do, how long it will take, doing it, and what came of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table

from lossatlas.execution.progress import Progress, duration
from lossatlas.model_report.estimate import Costs, measure_costs
from lossatlas.model_report.folder import Folder
from lossatlas.model_report.measure import TickingLoss, draw, measure, missing
from lossatlas.model_report.measurements import Measurement, Subject, measurements
from lossatlas.model_report.problem import load_problem
from lossatlas.model_report.settings import Name, Settings
from lossatlas.model_report.write import write_report
from lossatlas.numbers import loss_text


def probe(
    address: str,
    out: Path,
    probes: tuple[Name, ...],
    settings: Settings,
    *,
    device: str | None,
    console: Console,
) -> bool:
    """Do what is asked for, or what is missing of it; whether all of it worked.

    Raises InputError for what cannot be used.
    """
    problem = load_problem(address)
    losses = problem.losses(TickingLoss, device=device)
    first = next(iter(losses.values()))
    subject = Subject(losses, problem.trajectory(first), problem.others(first), settings)
    folder = Folder(out)
    folder.claim(problem.title, subject)
    console.print(
        f"{problem.title}: {first.layout.size:,} parameters, "
        + ", ".join(f"{loss.examples:,} {split} examples, loss {loss_text(float(loss(loss.theta)))}"
                    for split, loss in losses.items()),
        highlight=False,
    )  # fmt: skip
    wanted, lacking = measurements(subject, probes)
    for name, why in lacking.items():
        console.print(f"left out: {name} {why}", highlight=False, markup=False)
    todo = missing(folder, wanted)
    costs = Costs(0.0, 0.0)
    if todo:
        costs = measure_costs(subject, todo)
        _announce(todo, costs, console)
    progress = Progress(console)
    account = measure(folder, wanted, costs, settings, len(losses), progress)
    draw(folder, wanted, problem.title, progress)
    write_report(folder, wanted, lacking)
    for name, why in account.failures.items():
        console.print(f"failed: {name}: {why}", highlight=False, markup=False)
    if account.seconds:
        console.print(f"time: {_times(account.seconds)}", highlight=False)
    console.print(f"read {folder.root / 'report.html'}", highlight=False)
    return not account.failures


def _announce(todo: Sequence[Measurement], costs: Costs, console: Console) -> None:
    """What is to be done and about how long it takes, before it starts."""
    table = Table("probe", box=None)
    for heading in ("evaluations", "Hessian products", "about"):
        table.add_column(heading, justify="right")
    for measurement in todo:
        evaluations, products = measurement.evaluations or "", measurement.products or ""
        table.add_row(measurement.name, f"{evaluations}", f"{products}", duration(costs.seconds(measurement)))
    console.print(table)
    console.print(f"about {duration(sum(map(costs.seconds, todo)))} in all", highlight=False)


def _times(seconds: Mapping[str, float]) -> str:
    return ", ".join(f"{name} {duration(spent)}" for name, spent in seconds.items())
