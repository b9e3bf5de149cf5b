from __future__ import annotations

import math
import re
from pathlib import Path

import pytest

from lossatlas.files import write_json
from lossatlas.study.analysis.tables import write_tables
from lossatlas.study.report.material import Material
from lossatlas.study.report.summary import write_pages
from lossatlas.study.store import Store
from tests.study.analysis.test_tables import connect, make_store, train, train_all


def pages(store: Store) -> dict[str, str]:
    return {path.stem: path.read_text() for path in write_pages(Material(store, write_tables(store)))}


def tables_in(page: str) -> list[list[dict[str, str]]]:
    """Every GitHub table of a page, as rows of cells by heading."""
    found = []
    for block in re.findall(r"(?:^\|.*\|\n)+", page, flags=re.MULTILINE):
        heading, rule, *rows = [[cell.strip() for cell in line.strip("|").split(" | ")] for line in block.splitlines()]
        assert set(rule) <= {"---", "---:"}
        found.append([dict(zip(heading, row, strict=True)) for row in rows])
    return found


def numbers(cell: str) -> list[float]:
    return [float(part) for part in re.findall(r"-?\d[\d.e+-]*", cell)]


@pytest.fixture
def store(tmp_path: Path) -> Store:
    store = make_store(tmp_path)
    train_all(store)
    return store


def test_tables_on_the_pages_say_what_the_csv_files_say(store):
    tables = write_tables(store)
    written = pages(store)
    for factor in ("depth", "width", "activation", "optimizer"):
        shown = tables_in(written[f"{factor}_study"])[0]
        assert len(shown) == len(tables[factor])
        for cells, row in zip(shown, tables[factor].to_dict("records"), strict=True):
            assert cells[factor.capitalize()] == str(row[factor])
            assert int(cells["n"]) == row["n"]
            for heading, name, error in (("loss", "mean_test_loss", 5e-3), ("accuracy", "mean_test_accuracy", 1e-3)):
                exact = [row[name + part] for part in ("", "_low", "_high")]
                assert numbers(cells[f"Mean test {heading}"]) == pytest.approx(exact, rel=error)
    *_, overall = tables_in(written["summary"])
    assert [row["Architecture"] for row in overall] == ["1x50", "1x50", "2x100", "2x100"]
    assert overall[0]["Mean test loss"].startswith("11.0 [")


def test_same_store_same_bytes(store):
    connect(store, next(store.study.runs()), {(0, 1, False): 0.5, (0, 1, True): 0.25})
    assert pages(store) == pages(store)


def test_mixed_axes_are_named_only_where_they_are_mixed(store, tmp_path):
    written = pages(store)
    assert "**Depth and width are mixed here**" in written["depth_study"]
    assert "- depth 1: width 50 (6 runs)\n- depth 2: width 100 (6 runs)\n" in written["depth_study"]
    assert "**Width and depth are mixed here**" in written["width_study"]
    assert "mixed" not in written["activation_study"] + written["optimizer_study"]
    assert len(tables_in(written["depth_study"])) == 2
    crossed = make_store(tmp_path / "crossed", model={"depth": [1, 2], "width": [50, 100], "activations": ["relu"]})
    train_all(crossed)
    written = pages(crossed)
    assert not any("mixed" in page for page in written.values())
    assert len(tables_in(written["depth_study"])) == 1


def test_one_level_is_compared_with_nothing(store):
    written = pages(store)
    assert "one optimizer only" in written["optimizer_study"]
    assert (
        "The lowest mean test loss is that of depth 1 (12.5), the highest that of depth 2 (28.5)."
        in (written["depth_study"])
    )


def test_too_few_seeds_are_said_to_be_too_few(store, tmp_path):
    written = pages(store)
    assert "one seed is left out at a time within each configuration, on these examples" in written["depth_study"]
    alone = make_store(tmp_path / "alone", training={"seeds": [4]})
    train_all(alone)
    written = pages(alone)
    assert "one run says nothing about the spread" in written["depth_study"]
    assert "95 %" not in written["depth_study"] + written["summary"]
    assert all(row["Mean test loss"].endswith(" [–]") for row in tables_in(written["depth_study"])[0])


def test_diverged_untrained_and_failed_runs_are_listed(store):
    runs = list(store.study.runs())
    train(store, runs[2], math.nan, status="diverged")
    (store.run_folder(runs[7]) / "metrics.json").unlink()
    write_json(store.run_folder(runs[1]) / "failures.json", {"spectrum": "ValueError: a `thing`\nbroke"})
    pairs = store.pairs_file(runs[3], "linear_connectivity", between="seed").parent
    write_json(pairs / "failures.json", {"linear_connectivity": "RuntimeError: no"})
    written = pages(store)
    summary = written["summary"]
    assert (
        "12 runs in 4 configurations: 11 trained, of which 1 diverged; 1 not trained; 2 recorded failures." in summary
    )
    assert f"- diverged: {runs[2]}\n- not trained: {runs[7]}\n- failed: spectrum in [" in summary
    assert "`ValueError: a 'thing' broke`\n- failed: linear\\_connectivity in [" in summary
    assert "1 run diverged and is left out of the means" in written["depth_study"]
    assert tables_in(summary)[-1][0]["Diverged"] == "1"


def test_a_study_without_any_result_has_pages(tmp_path):
    written = pages(make_store(tmp_path))
    assert "No run has been trained yet." in written["depth_study"]
    assert "No pair of seeds has been connected." in written["connectivity_study"]
    assert "no regularization study" in written["regularization_study"]
    assert "12 not trained" in written["summary"]


def test_networks_of_the_regularization_study_are_counted_listed_and_have_a_page(tmp_path):
    store = make_store(tmp_path, regularization={"weight_decays": [0.0, 1e-2]})
    train_all(store)
    runs = list(store.study.regularization_runs())
    for run in runs[1:]:
        train(store, run, 0.5)
    train(store, runs[2], math.nan, status="diverged")
    written = pages(store)
    counts = "12 runs in 4 configurations and 8 more for the regularization study: 19 trained, of which 1 diverged; 1"
    assert counts in written["summary"]
    assert f"- diverged: {runs[2]}\n- not trained: {runs[0]}\n" in written["summary"]
    page = written["regularization_study"]
    assert page.startswith("# Regularization study: hand\n")
    assert (
        "[Every configuration](#appendix-regularization)" in page
        or "[Regularization](#appendix-regularization)" in page
    )
    assert [row["Weight decay"] for row in tables_in(page)[-1]] == ["0.01", *["0", "0.01"] * 3]
    targets = re.findall(r"\]\(([^)#]+)\)", page)
    assert targets
    assert all((store.root / target).exists() for target in targets)
    assert all(f'<a id="{label}">' in page for label in re.findall(r"\]\(#([^)]+)\)", page))


def test_connectivity_page_pairs_aligned_with_as_trained(store):
    first = next(store.study.runs())
    connect(store, first, {(0, 1, False): 0.5, (0, 1, True): 0.125, (0, 2, False): 0.0, (0, 2, True): 0.0})
    page = pages(store)["connectivity_study"]
    every, changes, _ = tables_in(page)
    assert [row["Aligned"] for row in every] == ["no", "yes"]
    assert every[0]["Max train barrier"] == "0.500"
    assert numbers(changes[0]["Change"])[0] == pytest.approx(-0.188)
    assert "lowered the train barrier of 1 and the test barrier of 1 out of 2 pairs" in page
    connect(store, first, {(0, 1, False): 0.5})
    assert "aligned, pair by pair" not in pages(store)["connectivity_study"]


def test_links_lead_to_what_is_there(store):
    runs = list(store.study.runs())
    contour = store.figure_file(runs[1], "trajectory_plane", "contour")
    for file in (contour, store.pair_figure_file(runs[0], runs[1], "linear_connectivity", "loss")):
        file.parent.mkdir(parents=True)
        file.touch()
    written = pages(store)
    links = {name: re.findall(r"\]\(([^)]+)\)", page) for name, page in written.items()}
    assert all((store.root / target).exists() for targets in links.values() for target in targets)
    assert any(target.endswith("pca/trajectory_plane_contour.png") for target in links["depth_study"])
    assert any(
        target.endswith("connectivity/seed=0_to_seed=1/linear_connectivity_loss.png")
        for target in links["connectivity_study"]
    )
    assert (
        "- depth 1 (moons · 1x50 · relu · adam · weight decay 0.0001 · data seed 0 · seed 1): "
        "[trajectory plane contour](" in (written["depth_study"])
    )


def test_weight_decay_is_named_where_there_are_several(tmp_path):
    store = make_store(tmp_path, training={"weight_decays": [0.0, 1e-3], "seeds": [0, 1]})
    train_all(store)
    written = pages(store)
    assert {row["Weight decay"] for row in tables_in(written["summary"])[-1]} == {"0", "0.001"}
    assert "all weight decays included" in written["depth_study"]
