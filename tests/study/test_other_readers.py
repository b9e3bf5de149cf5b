"""What the README says of DuckDB and Polars is so."""

from __future__ import annotations

import inspect
import re
from pathlib import Path

import duckdb
import polars as pl
import pytest

from lossatlas.files import read_json

README = (Path(__file__).parents[2] / "README.md").read_text()
KEY = ["dataset", "arch", "activation", "optimizer", "data_seed", "weight_decay", "seed"]


def test_duckdb_reads_the_folders_as_partitions(finished):
    (query,) = re.findall(r"`(select [^`]+)`", README)
    rows = duckdb.sql(query.replace("reports/", f"{finished.root}/"))
    assert set(KEY) < set(rows.columns)
    runs = finished.study.all_runs()
    last = duckdb.sql(f"select {', '.join(KEY)}, max_by(test_loss, epoch) from rows group by all").fetchall()
    assert len(last) == len(runs)
    found = {tuple(map(str, names)): value for *names, value in last}
    for run in runs:
        numbers = (str(run.data_seed), f"{run.weight_decay:g}", str(run.seed))
        name = (run.dataset, run.architecture, run.activation, run.optimizer, *numbers)
        assert found[name] == pytest.approx(read_json(finished.run_folder(run) / "metrics.json")["test_loss"])


def test_polars_and_duckdb_read_every_table(finished):
    (expression,) = re.findall(r"`(pl\.read_csv\([^`]+)`", README)
    runs = eval(expression.replace("reports/", f"{finished.root}/"))
    assert len(runs) == len(list(finished.study.runs()))
    for table in (finished.root / "tables").glob("*.csv"):
        assert pl.read_csv(table, infer_schema_length=None).shape == duckdb.sql(f"from '{table}'").shape


def test_polars_has_no_partitions_of_csv_files():
    """Where this fails, the README can say more."""
    assert "hive_partitioning" not in inspect.signature(pl.scan_csv).parameters
    assert "hive_partitioning" in inspect.signature(pl.scan_parquet).parameters
