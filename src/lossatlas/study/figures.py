"""Which figures a study has: of a network, a pair, all seeds of a configuration, a family; and drawing them."""

from __future__ import annotations

import itertools
import time
from collections.abc import Sequence

from lossatlas.execution.drawing import PNG, Drawing, Format, draw
from lossatlas.execution.failures import recording
from lossatlas.probes.probe import Probe
from lossatlas.study.config import Run
from lossatlas.study.site import planes
from lossatlas.study.site.site import Site
from lossatlas.study.store import Store

DPI = 130


def of_run(store: Store, run: Run) -> list[Drawing]:
    """The figures around a network."""
    return [
        Drawing(
            probe=probe, sources={"": store.result_file(run, probe.name)}, folder=store.figures_of(run, probe.name),
            title=str(run), failures=store.run_folder(run), dpi=DPI,
        )
        for probe in store.study.probes_of(run, "model", "trajectory")
    ]  # fmt: skip


def of_pairs(store: Store, runs: Sequence[Run]) -> list[Drawing]:
    """The figures between every two of these runs: as trained, and with neurons aligned where there is such a path."""
    probes = store.study.probes_of(runs[0], "pair")
    return [_of_pair(store, probe, a, b) for probe in probes for a, b in itertools.combinations(runs, 2)]


def of_models(store: Store, runs: Sequence[Run]) -> list[Drawing]:
    """The figures of all seeds of a configuration together."""
    run = runs[0]
    return [
        Drawing(
            probe=probe, sources={"": store.models_file(run, probe.name)}, folder=store.models_figures(run, probe.name),
            title=str(run).replace(f" · seed {run.seed}", ""), failures=store.configuration_folder(run), dpi=DPI,
        )
        for probe in store.study.probes_of(run, "models")
        if len(runs) > probe.fewest
    ]  # fmt: skip


def of_family(store: Store, run: Run) -> list[Drawing]:
    """The figures over weight decay of a run's configuration."""
    return [
        Drawing(
            probe=probe, sources={"": file}, folder=store.family_figures(run, probe.name),
            title=" · ".join((*run.group, run.optimizer)), failures=file.parent, dpi=DPI,
        )
        for probe in store.study.probes_of(run, "family")
        for file in [store.family_file(run, probe.name)]
    ]  # fmt: skip


def draw_all(drawings: Sequence[Drawing], formats: Sequence[Format] = PNG) -> dict[str, float]:
    """Draw these."""
    start = time.perf_counter()
    draw(drawings, formats)
    return {"figures": time.perf_counter() - start}


def draw_run(store: Store, run: Run, drawings: Sequence[Drawing], formats: Sequence[Format] = PNG) -> dict[str, float]:
    """Draw these figures of a run, and write its surfaces that turn where they are stale."""
    seconds = draw_all(drawings, formats)
    start = time.perf_counter()
    with recording("surfaces of the report", store.run_folder(run)):
        planes.write_planes_of(Site(store), run)
    return {**seconds, "surfaces": time.perf_counter() - start}


def _of_pair(store: Store, probe: Probe, a: Run, b: Run) -> Drawing:
    files = {
        "as trained": store.pair_file(a, b, probe.name),
        "aligned": store.pair_file(a, b, probe.name, aligned=True),
    }
    there = {label: file for label, file in files.items() if file.is_file()}
    return Drawing(
        probe=probe, sources=there, folder=store.pair_figures(a, b, probe.name), title=_pair_title(a, b),
        failures=store.pair_folder(a, b, probe.name).parent, dpi=DPI,
    )  # fmt: skip


def _pair_title(a: Run, b: Run) -> str:
    if a.optimizer == b.optimizer:
        return str(a).replace(f"seed {a.seed}", f"seeds {a.seed} and {b.seed}")
    return str(a).replace(a.optimizer, f"{a.optimizer} and {b.optimizer}")
