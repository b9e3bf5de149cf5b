"""The report as a document: what is in it, where it leads, and what happens where data are absent."""

from __future__ import annotations

import math
import re
import shutil
from pathlib import Path

import pandas as pd
import pytest

from lossatlas.document.blocks import (
    Cell,
    Document,
    Figure,
    FigureRow,
    Items,
    Link,
    Paragraph,
    Reference,
    Section,
    Table,
    Text,
    Wall,
    names,
    walk,
)
from lossatlas.numbers import interval_text, loss_text
from lossatlas.study.analysis.findings import COLUMNS
from lossatlas.study.analysis.tables import write_tables
from lossatlas.study.report.content import build_report
from lossatlas.study.report.material import Material
from lossatlas.study.store import Store, open_store
from tests.study.analysis.test_tables import connect, make_store, measure, train, train_all

LABELS = [
    "atlas", "findings", "standing", "performance", "landscapes", "hessian", "sharpness", "connectivity",
    "architectures", "optimizers", "regularization", "conclusions", "limits", "overview", "setup", "references",
    "appendix-runs", "appendix-depth", "appendix-width", "appendix-activation", "appendix-optimizer",
    "appendix-connectivity", "appendix-regularization", "appendix-claims", "appendix-measures",
]  # fmt: skip


def texts(document: Document) -> list[Text]:
    found: list[Text] = []
    for block in walk(document):
        match block:
            case Paragraph(text):
                found.append(text)
            case Items(items):
                found += items
            case Table() | Figure():
                found.append(block.caption)
    return found


def words(document: Document) -> str:
    parts = [part for text in texts(document) for part in text]
    return "\n".join(part if isinstance(part, str) else getattr(part, "text", "") for part in parts)


def table(document: Document, label: str) -> Table:
    return next(block for block in walk(document) if isinstance(block, Table) and block.label == label)


def report(store: Store) -> Document:
    return build_report(Material(store, write_tables(store)))


@pytest.fixture(scope="module")
def copied(finished, tmp_path_factory) -> Store:
    root = tmp_path_factory.mktemp("copied") / "store"
    shutil.copytree(finished.root, root)
    return open_store(root)


@pytest.fixture(scope="module")
def whole(copied) -> Document:
    return report(copied)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    store = make_store(tmp_path)
    for run in train_all(store):
        measure(store, run)
    return store


def test_numbers_have_sensible_digits():
    values = (0.1234567, 0.1, 123.4, 0.0, 2e-5, 12345.0, math.nan)
    assert [loss_text(value) for value in values] == ["0.123", "0.100", "123", "0.00", "2.00e-05", "1.23e+04", "nan"]
    row = {"m": 0.5, "m_low": 0.25, "m_high": 1.0}
    assert interval_text(row, "m", loss_text) == "0.500 [0.250, 1.00]"
    assert interval_text({**row, "m_low": math.nan}, "m", loss_text) == "0.500 [–]"
    assert interval_text({**row, "m": math.nan}, "m", loss_text) == "–"


def test_a_whole_study_has_every_part(whole):
    assert [section.label for section in whole.sections] == LABELS
    assert [section.appendix for section in whole.sections] == [label.startswith("appendix") for label in LABELS]
    assert names(whole)["appendix-regularization"] == "Appendix G"
    assert names(whole)["findings"] == "Section 2"
    wall = whole.sections[0].blocks[0]
    assert isinstance(wall, Wall)
    assert len(wall.tiles) == 8


def test_every_reference_link_and_image_leads_somewhere(whole, copied):
    named = names(whole)
    targets = set()
    for text in texts(whole):
        for part in text:
            if isinstance(part, Reference):
                assert part.label in named
            elif isinstance(part, Link) and "://" not in part.target:
                targets.add(part.target)
    for block in walk(whole):
        if isinstance(block, Figure):
            targets |= {block.path, block.run or block.path}
        if isinstance(block, Table):
            cells = [cell for row in block.rows for cell in row]
            targets |= {target for cell in cells for target in (cell.target, cell.image) if target}
    assert [target for target in targets if not (copied.root / target).exists()] == []
    assert sum(target.endswith(".png") for target in targets) > 15


def test_every_run_is_in_appendix_a_and_leads_to_its_folder(whole, copied):
    runs = table(whole, "runs")
    seed = runs.headings.index("Seed")
    folders = [
        f"experiments/{copied.run_folder(run).relative_to(copied.root / 'experiments')}" for run in copied.study.runs()
    ]
    assert [row[seed].target for row in runs.rows] == folders
    losses = [row[runs.headings.index("Test loss")].value for row in runs.rows]
    assert losses == [copied.metrics(run)["test_loss"] for run in copied.study.runs()]
    assert len(table(whole, "run-measures").rows) == len(folders)


def test_examples_are_the_deepest_and_the_shallowest_network(whole):
    rows = {row.figures[0].label: row for row in walk(whole) if isinstance(row, FigureRow)}
    large, small = (rows[f"curve-{size}-0"].figures for size in ("large", "small"))
    assert ["arch=2x4" in figure.path for figure in large] == [True, True]
    assert ["arch=1x5" in figure.path for figure in small] == [True, True]
    assert [figure.path.split("optimizer=")[1].split("/")[0] for figure in large] == ["sgd", "adam"]
    assert any("between_optimizers" in block.path for block in walk(whole) if isinstance(block, Figure))


def test_appendix_g_shows_every_configuration_small(whole, copied):
    images = [[cell.image for cell in row if cell.image] for row in table(whole, "decays").rows]
    assert [len(some) for some in images] == [3] * 4
    assert all((copied.root / image).is_file() for some in images for image in some)


def test_the_last_appendix_has_every_measure_of_every_probe(whole, copied):
    (every,) = (section for section in whole.sections if section.label == "appendix-measures")
    probes = copied.study.probes.of("model", "trajectory")
    assert [section.label for section in every.sections] == [
        f"measures-{probe.name}" for probe in probes if probe.columns
    ]
    said = words(Document("", "", (every,)))
    assert all(column.words in said for probe in probes for column in probe.columns.values())


def test_limits_say_what_is_confounded_and_how_sure_intervals_are(store):
    said = words(report(store))
    assert "At most 3 networks for each configuration. Over 3 seeds the variance between them" in said
    assert "common random numbers" in said
    assert "The data are 1 draw: intervals are over seeds alone" in said
    assert "depth with width" in said
    assert "12 of 12 trained runs have a spectrum" in said


def test_confounded_levels_are_not_called_effects(store):
    said = words(report(store))
    assert "These rows differ in width too, so they do not show the effect of depth alone." in said
    assert "no networks that differ in depth only or in width only" in said


def test_without_hessian_sharpness_and_connectivity_their_sections_are_left_out(tmp_path):
    store = make_store(tmp_path, probes={"run": ["interpolate"]})
    train_all(store)
    labels = [section.label for section in report(store).sections]
    assert not {"hessian", "sharpness", "connectivity"} & set(labels)
    assert "No pair of seeds has been connected." in words(report(store))


def test_one_seed_diverged_and_untrained_runs(tmp_path):
    store = make_store(tmp_path, training={"optimizers": ["adam"], "seeds": [4]})
    runs = train_all(store)
    train(store, runs[0], math.nan, test_accuracy=math.nan, status="diverged")
    (store.run_folder(runs[1]) / "metrics.json").unlink()
    said = words(report(store))
    assert "3 have been trained, of which 1 diverged" in said
    assert "One seed for each configuration" in said
    assert "1 of 4 runs are not trained, 1 diverged" in said


def test_networks_of_the_regularization_study_count_too(tmp_path):
    store = make_store(tmp_path, regularization={"weight_decays": [0.0]})
    train_all(store)
    train(store, next(store.study.regularization_runs()), math.nan, status="diverged")
    document = report(store)
    assert document.subtitle.endswith("3 seeds of each configuration on a draw and 4 more for the regularization study")
    assert "13 have been trained, of which 1 diverged" in words(document)
    assert "3 of 16 runs are not trained, 1 diverged" in words(document)


def test_a_study_without_any_result_or_any_table_has_a_report(tmp_path):
    store = make_store(tmp_path)
    for document in (report(store), build_report(Material(store, {}))):
        assert {"overview", "setup", "limits", "appendix-runs"} <= set(names(document))
        assert "No run has been trained yet." in words(document)


def test_barriers_that_are_not_finite_are_shown(store):
    connect(store, next(store.study.runs()), {(0, 1, False): 0.25, (0, 2, False): 0.5, (1, 2, False): 0.5})
    tables = write_tables(store)
    infinite = {"mean_test_barrier": math.inf, "mean_test_barrier_low": math.nan, "mean_test_barrier_high": math.nan}
    document = build_report(Material(store, {**tables, "connectivity": tables["connectivity"].assign(**infinite)}))
    assert "inf [–]" in [cell.text for row in table(document, "barriers").rows for cell in row]


def finding(name: str, axis: str, verdict: str, n: int = 9) -> dict[str, object]:
    """A row of findings.csv."""
    row = dict.fromkeys(COLUMNS, math.nan) | {"n": n, "cells": 3, "draws": 1, "over": "seeds", "reversed_by": ""}
    numbers = {"estimate": 2.0, "low": 1.5, "high": 2.5, "share": 0.75, "bound_low": 1.0, "bound_high": math.inf}
    words = {"statement": f"{axis} is {verdict}.", "evidence": "Ratio 2.0.", "sensitivity": "", "rule": "above 1"}
    said = {"quantity": "Ratio", "of": "pairs", "at": "the end of training", "log10": False}
    return row | numbers | words | said | {"name": name, "axis": axis, "verdict": verdict}


def test_findings_come_with_evidence_and_verdict(store):
    rows = [finding("sgd_is_sharper", "Optimizer", "supported"), finding("absent", "Width", "undecided", n=0)]
    tables = {**write_tables(store), "findings": pd.DataFrame(rows, columns=COLUMNS)}
    document = build_report(Material(store, tables))
    (cells,) = [[cell.text for cell in row] for row in table(document, "key-findings").rows]
    assert cells[:4] == ["Optimizer", "Optimizer is supported.", "supported", "2.00 [1.50, 2.50]"]
    assert "1 are supported, 0 contradicted, 0 mixed and 0 undecided. 1 more statement would need" in words(document)
    assert table(document, "sharpness-findings").rows[0][1].text == "Ratio 2.0."
    (claim,) = [[cell.text for cell in row] for row in table(document, "claims-table").rows]
    assert claim[1:4] == [
        "Ratio",
        "other seeds on 1 draw of the data; configurations like these (3 configuration cells)",
        "9 pairs, at the end of training",
    ]


def test_conclusions_count_by_axis_and_say_again_only_what_is_not_supported(store):
    rows = [
        finding(f"{verdict}_{axis}", axis, verdict)
        for axis, verdict in (("Width", "supported"), ("Width", "undecided"), ("Depth", "contradicted"))
    ]
    tables = {**write_tables(store), "findings": pd.DataFrame(rows, columns=COLUMNS)}
    (section,) = (part for part in build_report(Material(store, tables)).sections if part.label == "conclusions")
    axes, contradicted, undecided, _ = (block.items for block in section.blocks if isinstance(block, Items))
    assert axes == (
        ("Width: of 2 statements 1 are supported, 0 contradicted, 0 mixed and 1 undecided",),
        ("Depth: of 1 statement 0 are supported, 1 contradicted, 0 mixed and 0 undecided",),
    )
    assert contradicted == (("Depth is contradicted. Ratio: 2.00 [1.50, 2.50].",),)
    assert undecided == (("Width is undecided. Ratio: 2.00 [1.50, 2.50].",),)


def test_correlations_over_all_runs_and_among_like_ones_stand_side_by_side(tmp_path):
    store = make_store(tmp_path, data={"datasets": ["moons", "xor"]})
    for run in train_all(store):
        measure(store, run)
    scopes = ("all", "moons", "within data sets", "within data sets and optimizers")
    rows = [
        ["epsilon_sharpness_maximum", "test_loss", scope, 9, tau / 4, 0.0, 1.0, tau / 8, -1.0, 1.0]
        for tau, scope in enumerate(scopes)
    ]
    columns = ["measure", "outcome", "scope", "n", "tau", "low", "high", "partial", "partial_low", "partial_high"]
    tables = {**write_tables(store), "correlations": pd.DataFrame(rows, columns=columns)}
    shown = table(build_report(Material(store, tables)), "correlations-table")
    names = ("All", "Within data sets", "Within data sets and optimizers")
    assert shown.headings[3:] == tuple(f"{name}{held}" for name in names for held in ("", ", training loss held"))
    assert [[cell.value for cell in row[3:]] for row in shown.rows] == [[0.0, 0.0, 0.5, 0.25, 0.75, 0.375]]


def test_contrasts_name_their_factor_and_every_table_has_the_same_factors(tmp_path):
    model = {"depth": [1, 2], "width": [4], "activations": ["relu"]}
    store = make_store(tmp_path, model=model)
    for run in train_all(store):
        measure(store, run)
    for run in store.study.runs():
        connect(store, run, {(0, 1, False): 0.25, (0, 2, False): 0.5, (1, 2, False): 0.5})
    document = report(store)
    assert "The test loss is higher with depth 2 than with depth 1: " in words(document)
    for label in ("barrier-contrasts", "spectrum-trace-contrasts", "epsilon-sharpness-mean-contrasts"):
        assert [row[0].text for row in table(document, label).rows] == ["depth"]
    assert "n = 3 pairs; mean test accuracy 0.0" in words(document)


def test_a_label_names_one_thing():
    with pytest.raises(ValueError, match="label 'a' stands for Section 1 and for Table 1 too"):
        names(Document("", "", (Section("a", "A", (Table("a", ("x",), ("h",), (False,), ()),)),)))


def test_no_text_is_left_unfinished(whole):
    said = words(whole)
    assert not re.search(r"\bnan\b|\bNone\b|  |\.\.(?!\.)", said)


def test_cells_that_are_numbers_say_which(whole):
    for block in walk(whole):
        if isinstance(block, Table):
            for row in block.rows:
                assert all(isinstance(cell, Cell) and (cell.value is None or math.isfinite(cell.value)) for cell in row)
