"""What is in a store, for a terminal."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
from rich.console import Console
from rich.table import Table

from lossatlas.errors import InputError
from lossatlas.execution.failures import failures
from lossatlas.execution.measuring import missing
from lossatlas.files import read_json
from lossatlas.study.config import Run
from lossatlas.study.manifest import check_manifest
from lossatlas.study.store import Store, open_store
from lossatlas.study.subjects import of_run


def list_runs(root: Path, console: Console) -> None:
    """One line per network: how far it is and how well it does."""
    store = open_store(root)
    check_manifest(root)
    table = Table("dataset", "arch", "activation", "optimizer", "weight decay", "data seed", "seed", "state", box=None)
    for heading in ("test loss", "test accuracy"):
        table.add_column(heading, justify="right")
    for run in store.study.all_runs():
        loss, accuracy = "", ""
        if store.trained(run):
            metrics = store.metrics(run)
            loss, accuracy = f"{metrics['test_loss']:.4g}", f"{metrics['test_accuracy']:.4f}"
        table.add_row(
            run.dataset,
            run.architecture,
            run.activation,
            run.optimizer,
            f"{run.weight_decay:g}",
            str(run.data_seed),
            str(run.seed),
            _state(store, run),
            loss,
            accuracy,
        )
    console.print(table)


def show_run(named: str, root: Path, console: Console) -> None:
    """One network: its settings, its numbers, what was measured of it and where its figures are."""
    store = open_store(root)
    check_manifest(root)
    run = _find(store, named)
    folder = store.run_folder(run)
    console.print(f"{run}\n{folder}", highlight=False)
    console.print(f"state: {_state(store, run)}", highlight=False)
    if not store.trained(run):
        return
    config = read_json(folder / "config.json")
    console.print(f"{config['parameters']} parameters", highlight=False)
    numbers = {name: value for name, value in store.metrics(run).items() if name != "status"}
    for name in ("regularization", "runs"):
        if (file := root / "tables" / f"{name}.csv").is_file():
            numbers |= _measures(pd.read_csv(file), run)
    table = Table(box=None, show_header=False)
    for name, value in numbers.items():
        table.add_row(name, f"{value:.6g}" if isinstance(value, float) else str(value))
    console.print(table)
    figures = sorted(path for path in store.figure_folder(run).rglob("*") if path.is_file())
    for figure in figures:
        console.print(str(figure), highlight=False)


def _measures(table: pd.DataFrame, run: Run) -> dict[str, object]:
    name = run.model_dump()
    mine = table.loc[[all(row[field] == value for field, value in name.items()) for _, row in table.iterrows()]]
    return {} if mine.empty else mine.iloc[0].drop(list(name)).dropna().to_dict()


def _find(store: Store, named: str) -> Run:
    runs = store.study.all_runs()
    wanted = Path(named).resolve()
    exact = [run for run in runs if store.run_folder(run).resolve() == wanted]
    words = named.strip("/").split("/")
    matching = exact or [run for run in runs if set(words) <= set(store.run_folder(run).parts)]
    if len(matching) != 1:
        found = f"{len(matching)} match" if matching else "none matches"
        raise InputError(
            f"{named!r}: wanted the folder of one network of {store.root}, or levels of it such as "
            f"arch=4x250/activation=tanh/optimizer=sgd/seed=0, but {found}: see `lossatlas list {store.root}`"
        )
    return matching[0]


def _state(store: Store, run: Run) -> str:
    if failed := failures(store.run_folder(run)):
        return f"failed: {', '.join(failed)}"
    if not store.trained(run):
        return "to train"
    if store.diverged(run):
        return "diverged"
    todo = [one.name for one in missing(of_run(store, run))]
    return f"to measure: {', '.join(todo)}" if todo else "done"
