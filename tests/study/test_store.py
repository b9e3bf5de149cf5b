import errno
import json
import subprocess
import sys

import numpy as np
import pytest
import torch
import xarray as xr
from safetensors.torch import load_file
from torch import nn

from lossatlas.errors import InputError
from lossatlas.execution.failures import failures, recording
from lossatlas.files import read_json, write_json
from lossatlas.parameters.layout import Layout
from lossatlas.results.storage import read_result, write_result
from lossatlas.study.config import Run, Study
from lossatlas.study.store import Store, claim, open_store
from lossatlas.study.training.stage import train_runs, versions
from lossatlas.training.checkpoints import write_theta

STUDY = Study.model_validate(
    {
        "name": "tiny",
        "data": {"train": 32, "test": 16},
        "model": {"architectures": ["1x4"], "activations": ["relu"]},
        "training": {"optimizers": ["adam"], "seeds": [0, 1], "epochs": 2, "checkpoints": 1},
    }
)


@pytest.fixture
def store(tmp_path) -> Store:
    with claim(tmp_path / "out", STUDY, versions()) as claimed:
        train_runs(claimed, list(STUDY.runs()))
    return claimed


def first(study: Study) -> Run:
    return next(study.runs())


def test_the_tree_is_what_is_promised(store):
    configuration = "dataset=moons/arch=1x4/activation=relu/optimizer=adam/data_seed=0/weight_decay=0.0001"
    folder = store.root / "experiments" / configuration / "seed=0"
    assert store.run_folder(first(STUDY)) == folder
    assert sorted(path.name for path in folder.iterdir()) == [
        "checkpoints",
        "config.json",
        "history.csv",
        "metrics.json",
        "provenance.json",
    ]
    assert [path.name for path in store.checkpoint_files(first(STUDY))] == [
        "init.safetensors",
        "epoch=001.safetensors",
        "final.safetensors",
    ]
    metrics = read_json(folder / "metrics.json")
    assert {"train_loss", "test_loss", "train_accuracy", "test_accuracy"} <= set(metrics)
    assert read_json(folder / "config.json")["parameters"] == 2 * 4 + 4 + 4 * 2 + 2
    assert (folder / "history.csv").read_text().splitlines()[0].startswith("epoch,learning_rate,train_loss")
    assert read_json(store.root / "study.json")["versions"]["torch"]


def test_weight_decay_is_a_level_of_the_figures_only_where_it_varies(tmp_path):
    several = STUDY.model_copy(update={"training": STUDY.training.model_copy(update={"weight_decays": (0.0, 1e-3)})})
    folder = Store(tmp_path, STUDY).figure_folder(first(STUDY))
    assert folder == tmp_path / "figures/dataset=moons/arch=1x4/activation=relu/optimizer=adam/seed=0"
    folders = {Store(tmp_path, several).figure_folder(run) for run in several.runs()}
    assert len(folders) == len(list(several.runs()))


def test_draws_of_the_data_lie_apart_and_the_figures_are_of_the_first(tmp_path):
    several = STUDY.model_copy(update={"data": STUDY.data.model_copy(update={"seeds": (0, 4)})})
    store = Store(tmp_path, several)
    first, other = (next(run for run in several.runs() if run.data_seed == seed) for seed in (0, 4))
    places = {
        store.run_folder, store.configuration_folder,
        lambda run: store.pairs_file(run, "linear_connectivity", between="seed"),
        lambda run: store.pairs_file(run, "linear_connectivity", between="optimizer"),
        lambda run: store.family_file(run, "interpolate_by_weight_decay"),
    }  # fmt: skip
    for place in places:
        assert str(place(other)) == str(place(first)).replace("data_seed=0", "data_seed=4") != str(place(first))
    assert store.figure_folder(first) == Store(tmp_path, STUDY).figure_folder(first)


def test_the_last_checkpoint_of_a_network_that_ended_early_is_its_final_one(tmp_path):
    ended = STUDY.model_copy(
        update={"training": STUDY.training.model_copy(update={"epochs": 9, "checkpoints": 8, "until_loss": 1e3})}
    )
    with claim(tmp_path / "ended", ended, versions()) as store:
        train_runs(store, list(ended.runs()))
    names = [path.name for path in store.checkpoint_files(first(ended))]
    assert names == ["init.safetensors", "final.safetensors"]  # after the first epoch
    assert store.metrics(first(ended))["epochs"] == 1


def test_checkpoints_load_into_an_ordinary_module(store):
    model = nn.Sequential(nn.Linear(2, 4), nn.ReLU(), nn.Linear(4, 2))
    file = store.checkpoint_files(first(STUDY))[-1]
    model.load_state_dict(load_file(file))
    wanted = torch.nn.utils.parameters_to_vector(model.parameters())
    assert torch.equal(store.final(first(STUDY), Layout.of(model)), wanted)


def test_a_store_of_another_configuration_is_refused_and_left_alone(store):
    other = STUDY.model_copy(update={"training": STUDY.training.model_copy(update={"epochs": 5})})
    before = {path: path.read_bytes() for path in store.root.rglob("*") if path.is_file()}
    message = r"holds a study with training.epochs = 2, this one has 5: choose another --out"
    with pytest.raises(InputError, match=message), claim(store.root, other, versions()):
        pass
    assert {path: path.read_bytes() for path in store.root.rglob("*") if path.is_file()} == before


def test_a_field_that_is_newer_than_the_store_has_its_default(store):
    file = store.root / "study.json"
    written = read_json(file)
    del written["study"]["training"]["evaluate_every"]
    write_json(file, written)
    with claim(store.root, STUDY, versions()) as again:
        assert again.study == STUDY


def test_results_of_other_versions_are_not_mixed(store):
    other = {**versions(), "torch": "1.0"}
    with (
        pytest.raises(InputError, match=r"holds results of torch = .*, this one has '1.0'"),
        claim(store.root, STUDY, other),
    ):
        pass
    with claim(store.root, STUDY, None):  # nothing is measured
        pass


@pytest.mark.parametrize("text", ["{}", "[]", '{"study": {"training": {"epochs": 0}}}'])
def test_a_study_file_that_holds_no_study(store, text):
    (store.root / "study.json").write_text(text)
    with pytest.raises(InputError, match=r"study.json is damaged"):
        open_store(store.root)


@pytest.mark.parametrize("header", [b"{}", b"[]", b'{"w": {}}'])
def test_a_checkpoint_with_an_odd_header(store, header):
    file = store.checkpoint_files(first(STUDY))[1]
    file.write_bytes(len(header).to_bytes(8, "little") + header)
    with pytest.raises(InputError, match="its header cannot be read"):
        store.check_checkpoints()


def test_json_knows_no_nan_so_it_is_a_string(tmp_path):
    write_json(tmp_path / "n.json", {"a": [float("nan"), float("-inf"), 1.5]})
    assert json.loads((tmp_path / "n.json").read_text(), parse_constant=None) == {"a": ["nan", "-inf", 1.5]}


def test_a_folder_that_cannot_be_written_is_one_line(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match=r"cannot write to .*choose another folder"):
        claim(tmp_path / "file" / "out", STUDY, {}).__enter__()


def test_two_processes_cannot_write_one_store(store):
    with claim(store.root, STUDY, versions()):
        script = (
            "from pathlib import Path; from lossatlas.study.store import claim, open_store;"
            f"root = Path({str(store.root)!r}); claim(root, open_store(root).study, {{}}).__enter__()"
        )
        done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert "is being written by another lossatlas" in done.stderr


def test_no_study_there(tmp_path):
    with pytest.raises(InputError, match=r"holds no study"):
        open_store(tmp_path)


@pytest.mark.parametrize("keep", [0, 4, 20, -1])
def test_a_truncated_checkpoint_is_named_before_any_work(store, keep):
    file = store.checkpoint_files(first(STUDY))[1]
    file.write_bytes(file.read_bytes()[:keep])
    with pytest.raises(InputError, match=r"epoch=001.safetensors is damaged .*: delete .*seed=0 and run again"):
        store.check_checkpoints()
    with pytest.raises(InputError, match="is damaged"):
        store.trajectory(first(STUDY), Layout.of(nn.Sequential(nn.Linear(2, 4), nn.ReLU(), nn.Linear(4, 2))))


def test_a_missing_checkpoint_is_named(store):
    store.checkpoint_files(first(STUDY))[-1].unlink()
    with pytest.raises(InputError, match=r"final.safetensors is missing: delete .*seed=0 and run again"):
        store.check_checkpoints()


def test_results_come_back_with_their_nan_and_damaged_ones_are_named(tmp_path):
    result = xr.Dataset({"loss": (("split", "alpha"), [[1.0, np.nan, np.inf]])}, {"split": ["train"]})
    write_result(tmp_path / "r.nc", result)
    assert read_result(tmp_path / "r.nc").identical(result)
    (tmp_path / "r.nc").write_bytes((tmp_path / "r.nc").read_bytes()[:100])
    with pytest.raises(InputError, match="is damaged"):
        read_result(tmp_path / "r.nc")
    (tmp_path / "m.json").write_text('{"half":')
    with pytest.raises(InputError, match=r"m.json is damaged"):
        read_json(tmp_path / "m.json")


def test_a_write_that_fails_leaves_what_was_there(tmp_path, monkeypatch):
    file = tmp_path / "kept.json"
    write_json(file, {"old": 1})

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "full")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OSError, match="full"):
        write_json(file, {"new": 2})
    assert json.loads(file.read_text()) == {"old": 1}
    assert [path.name for path in tmp_path.iterdir()] == ["kept.json"]


def test_what_a_killed_process_left_half_written_is_swept(store):
    leftover = store.root / "experiments" / ".half.json.123.partial"
    leftover.write_text("half")
    with claim(store.root, STUDY, versions()):
        assert not leftover.exists()


def test_failures_are_recorded_and_forgotten(store):
    folder = store.run_folder(first(STUDY))
    with recording("trajectory_plane", folder):
        raise ValueError("no plane")
    assert "ValueError: no plane" in failures(folder)["trajectory_plane"]
    assert store.all_failures() == {folder: failures(folder)}
    with recording("trajectory_plane", folder):
        pass
    assert store.all_failures() == {}
    assert not (folder / "failures.json").exists()


def test_a_full_disk_and_damaged_input_are_not_failures_of_one_run(store):
    folder = store.run_folder(first(STUDY))
    with pytest.raises(OSError, match="full"), recording("trajectory_plane", folder):
        raise OSError(errno.ENOSPC, "full")
    with pytest.raises(InputError, match="damaged"), recording("trajectory_plane", folder):
        raise InputError("damaged")
    assert store.all_failures() == {}


def test_writing_theta_twice_gives_the_same_bytes(tmp_path):
    layout = Layout.of(nn.Linear(3, 2))
    for name in ("a", "b"):
        write_theta(tmp_path / name, layout, torch.arange(8.0))
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
