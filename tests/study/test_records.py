from __future__ import annotations

from collections import Counter

from lossatlas.study import records
from lossatlas.study.records import Records
from lossatlas.study.store import Store


def test_every_file_is_read_once_for_all_runs(finished, monkeypatch):
    read: Counter[str] = Counter()
    read_json, metrics = records.read_json, Store.metrics

    def counted(file):
        read[str(file)] += 1
        return read_json(file)

    def counted_metrics(self, run):
        read[str(run)] += 1
        return metrics(self, run)

    monkeypatch.setattr(records, "read_json", counted)
    monkeypatch.setattr(Store, "metrics", counted_metrics)
    known = Records(finished)
    runs = finished.study.all_runs()
    for run in runs:
        assert not known.diverged(run)
        assert known.metrics[run] == metrics(finished, run)
        list(known.paths(run))
    assert set(read.values()) == {1}
    assert {str(run) for run in runs} <= set(read)
    assert {
        str(finished.pairs_file(run, "linear_connectivity", between="seed")) for run in finished.study.runs()
    } <= set(read)


def test_paths_of_a_run_are_those_to_other_seeds_and_to_the_other_optimizer(finished):
    run = next(iter(finished.study.runs()))
    ends = [(a, b) for a, b, _ in Records(finished).paths(run)]
    assert ends
    assert all(run in pair for pair in ends)
    others = {b if a == run else a for a, b in ends}
    assert {(other.seed, other.optimizer) for other in others} == {(1, run.optimizer), (0, "adam")}
