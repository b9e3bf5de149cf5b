"""The whole study: what it leaves, and that nothing that happens to it changes that."""

from __future__ import annotations

import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pytest

from lossatlas.results.storage import read_result
from lossatlas.study.config import Study
from lossatlas.study.run import _measuring_jobs, expected, report_study, run_study
from lossatlas.study.store import Store, claim
from lossatlas.study.subjects import measure_family
from tests.study.tiny import contents, quiet

REGULARIZATION_FIGURES = (
    "interpolate_by_weight_decay_surface",
    "interpolate_by_weight_decay_curves",
    "slice_by_weight_decay_contour",
    "slice_by_weight_decay_surface_wd=0",
    "slice_by_weight_decay_surface_wd=0.01",
)


def test_every_promised_file_is_there(finished: Store):
    names = set(contents(finished.root))
    place = "dataset=moons/arch={}/activation=tanh/optimizer={}"
    for run in finished.study.runs():
        configuration = place.format(run.architecture, run.optimizer)
        draw = f"experiments/{configuration}/data_seed=0"
        folder = f"{draw}/weight_decay=0.0001/seed={run.seed}"
        figures = f"figures/{configuration}/seed={run.seed}"
        between = f"{{}}/dataset=moons/arch={run.architecture}/activation=tanh/between_optimizers/data_seed=0"
        between += f"/weight_decay=0.0001/seed={run.seed}"
        wanted = {
            *(f"{folder}/{name}" for name in ("config.json", "metrics.json", "history.csv", "provenance.json")),
            *(f"{folder}/checkpoints/{name}.safetensors" for name in ("init", "epoch=001", "epoch=003", "final")),
            f"{folder}/interpolation/interpolate.nc",
            f"{folder}/random_slice/random_line.nc",
            f"{folder}/random_slice/random_plane.nc",
            f"{folder}/pca/trajectory_plane.nc",
            f"{folder}/hessian/spectrum.json",
            f"{folder}/sharpness/epsilon_sharpness.json",
            f"{figures}/interpolation/interpolate_loss.png",
            f"{figures}/random_slice/random_line_loss.png",
            f"{figures}/random_slice/random_plane_contour.png",
            f"{figures}/random_slice/random_plane_surface.png",
            f"{figures}/pca/trajectory_plane_contour.png",
            f"{figures}/pca/trajectory_plane_surface.png",
            f"{figures}/hessian/spectrum_spectrum.png",
            f"{figures}/sharpness/epsilon_sharpness_hist.png",
            f"{figures}/sharpness/epsilon_sharpness_radius.png",
            f"{draw}/weight_decay=0.0001/connectivity/pairs.json",
            f"{draw}/weight_decay=0.0001/connectivity/seed=0_to_seed=1/linear_connectivity.nc",
            f"figures/{configuration}/connectivity/seed=0_to_seed=1/linear_connectivity_loss.png",
            *(f"{draw}/regularization/{name}.nc" for name in ("interpolate_by_weight_decay", "slice_by_weight_decay")),
            *(f"figures/{configuration}/regularization/{name}.png" for name in REGULARIZATION_FIGURES),
            f"{between.format('experiments')}/connectivity/sgd_to_adam/linear_connectivity.nc",
            f"{between.format('experiments')}/connectivity/pairs.json",
            f"{between.format('figures')}/connectivity/sgd_to_adam/linear_connectivity_loss.png",
        }
        assert wanted <= names
    tables = ("runs", "depth", "width", "activation", "optimizer", "connectivity")
    studies = ("depth", "width", "activation", "optimizer", "connectivity", "regularization")
    pages = ("summary", "report", *(f"{name}_study" for name in studies))
    assert {f"tables/{name}.csv" for name in tables} <= names
    assert {f"{name}.md" for name in pages} <= names


# Further draws of the data ---------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def of_two_draws(tmp_path_factory) -> Store:
    """A study of two draws, of which the second has eigenvalues and paths only."""
    study = Study.model_validate(
        {
            "data": {"train": 48, "test": 24, "seeds": [3, 8]},
            "model": {"architectures": ["1x5"], "activations": ["tanh"]},
            "training": {"optimizers": ["sgd", "adam"], "seeds": [0, 1], "epochs": 3, "checkpoints": 1},
            "probes": {
                "run": ["random_line", "spectrum", "linear_connectivity"],
                "further_draws": ["spectrum", "linear_connectivity"],
                "random_line": {"steps": 5},
                "spectrum": {"k": 2, "samples": 4},
                "linear_connectivity": {"steps": 5},
            },
        }
    )
    account = run_study(study, tmp_path_factory.mktemp("draws"), figures=True, workers=1, progress=quiet())
    assert not account.failures
    return account.store


def test_further_draws_have_the_probes_that_are_asked_on_every_draw_and_no_figures(of_two_draws: Store):
    store, names = of_two_draws, set(contents(of_two_draws.root))
    for run in store.study.runs():
        assert store.result_file(run, "spectrum").is_file()
        assert store.result_file(run, "random_line").is_file() == (run.data_seed == 3)
    assert not [name for name in names if name.startswith("figures") and "data_seed=8" in name]
    assert any(name.startswith("figures") and name.endswith("spectrum_spectrum.png") for name in names)
    between = [name for name in names if "between_optimizers" in name and name.endswith(".nc")]
    assert len(between) > 0
    assert all("data_seed=3" in name for name in between)  # optimizers are connected on the first draw alone


def test_pairs_share_their_examples(of_two_draws: Store):
    """Every path lies in the folder of one draw, and its ends have the losses of its networks there."""
    store = of_two_draws
    for run in (run for run in store.study.runs() if run.seed == 0):
        other = run.model_copy(update={"seed": 1})
        curve = read_result(store.pair_file(run, other, "linear_connectivity")).sel(split="train")
        ends = [store.metrics(one)["train_loss"] for one in (run, other)]
        assert curve.loss.values[[0, -1]] == pytest.approx(ends, rel=1e-5)
    pairs = json.loads(store.pairs_file(run, "linear_connectivity", between="seed").read_text())["pairs"]
    assert {tuple(pair["seeds"]) for pair in pairs} == {(0, 1)}


def test_tables_have_every_draw_and_missing_probes_are_empty(of_two_draws: Store):
    runs = pd.read_csv(of_two_draws.root / "tables" / "runs.csv")
    assert runs.data_seed.value_counts().to_dict() == {3: 4, 8: 4}
    assert runs.spectrum_top_eigenvalue.notna().all()
    assert runs.random_line_width.isna().tolist() == (runs.data_seed == 8).tolist()
    assert runs.groupby(["optimizer", "seed"]).test_loss.nunique().tolist() == [2] * 4


def test_alignment_is_for_one_hidden_layer_only(finished: Store):
    for run in finished.study.runs():
        pairs = json.loads(finished.pairs_file(run, "linear_connectivity", between="seed").read_text())["pairs"]
        assert [pair["aligned"] for pair in pairs] == ([False, True] if run.architecture == "1x5" else [False])
        if len(pairs) == 2:
            assert pairs[1]["distance"] <= pairs[0]["distance"]


def test_doing_it_again_does_nothing(finished: Store, tmp_path):
    root = tmp_path / "copy"
    shutil.copytree(finished.root, root)
    before = {path: path.stat().st_mtime_ns for path in (root / "experiments").rglob("*.*") if path.is_file()}
    account = run_study(finished.study, root, figures=True, workers=1, progress=quiet())
    assert not account.worked
    assert before == {path: path.stat().st_mtime_ns for path in before}
    assert contents(root) == contents(finished.root)


@pytest.mark.slow
def test_the_number_of_workers_changes_no_byte(finished: Store, tmp_path):
    run_study(finished.study, tmp_path, figures=True, workers=1, progress=quiet())
    assert contents(tmp_path) == contents(finished.root)


@pytest.mark.slow
def test_reports_come_back_from_the_store_alone(finished: Store, tmp_path):
    root = tmp_path / "copy"
    shutil.copytree(finished.root, root)
    for folder in ("figures", "tables"):
        shutil.rmtree(root / folder)
    for page in root.glob("*.md"):
        page.unlink()
    report_study(root, workers=2, progress=quiet())
    assert contents(root) == contents(finished.root)


def test_without_figures_there_are_measurements_and_tables_only(finished: Store, tmp_path):
    run_study(finished.study, tmp_path, figures=False, workers=2, progress=quiet())
    everything = contents(finished.root)
    kept = {name: text for name, text in everything.items() if name.startswith(("experiments", "tables", "study.json"))}
    assert contents(tmp_path) == kept


def test_a_probe_that_fails_is_told_and_the_others_go_on(tiny, tmp_path):
    # More radius than a float32 holds: the slice is infinite, the Hessian is not concerned; a plane needs directions.
    one = tiny.model_copy(
        update={
            "model": tiny.model.model_copy(update={"architectures": ("1x5",)}),
            "training": tiny.training.model_copy(update={"optimizers": ("sgd",), "sgd_learning_rate": 1e-300}),
        }
    )
    account = run_study(one, tmp_path, figures=False, workers=1, progress=quiet())
    # Nothing moved, so there is no trajectory to lay a plane through.
    assert {what for failed in account.failures.values() for what in failed} == {"trajectory_plane"}
    assert all("span fewer than 2 directions" in failed["trajectory_plane"] for failed in account.failures.values())
    run = next(one.runs())
    assert (account.store.run_folder(run) / "hessian" / "spectrum.json").is_file()


@pytest.mark.slow
def test_a_run_that_diverges_is_recorded_and_the_others_go_on(tiny, tmp_path):
    wild = tiny.model_copy(update={"training": tiny.training.model_copy(update={"sgd_learning_rate": 1e30})})
    account = run_study(wild, tmp_path, figures=True, workers=2, progress=quiet())
    assert {run.optimizer for run in account.diverged} == {"sgd"}
    assert not account.failures
    for run in wild.runs():
        assert account.store.metrics(run)["status"] == ("diverged" if run.optimizer == "sgd" else "trained")
        assert (account.store.run_folder(run) / "pca" / "trajectory_plane.nc").is_file() == (run.optimizer == "adam")


# A real SIGKILL ------------------------------------------------------------------------------------------------


def start(tiny_file: Path, root: Path, **kwargs) -> subprocess.Popen:
    command = [sys.executable, "-m", "lossatlas", "run", str(tiny_file), "--out", str(root), "--workers", "2"]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, **kwargs)


def files_like(root: Path, pattern: str) -> int:
    return sum(1 for _ in root.rglob(pattern))


def workers_of(pid: int) -> list[int]:
    listed = Path(f"/proc/{pid}/task/{pid}/children")
    return [int(child) for child in listed.read_text().split()] if listed.exists() else []


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="finds the workers through /proc")
@pytest.mark.slow
def test_a_study_killed_at_several_moments_ends_with_the_same_bytes(finished: Store, tiny_file, tmp_path):
    root = tmp_path / "killed"
    moments = (  # in the order of the work; how many such files there must be when the blow falls
        ("study.json", 1),
        ("*.safetensors", 3),
        ("metrics.json", 1),
        ("random_line.nc", 2),
        ("pairs.json", 1),
        ("*.png", 20),
    )
    for pattern, count in moments:
        process = start(tiny_file, root)
        while files_like(root, pattern) < count and process.poll() is None:
            time.sleep(0.002)
        workers = workers_of(process.pid)
        process.send_signal(signal.SIGKILL)
        process.wait()
        assert process.stdout is not None
        process.stdout.close()
        deadline = time.monotonic() + 20
        while any(Path(f"/proc/{worker}").exists() for worker in workers) and time.monotonic() < deadline:
            time.sleep(0.05)
        assert not [worker for worker in workers if Path(f"/proc/{worker}").exists()], "a worker outlived its parent"
    last = start(tiny_file, root)
    output, _ = last.communicate()
    assert last.returncode == 0, output
    assert contents(root) == contents(finished.root)


def hears_ctrl_c() -> None:
    """What runs in the background of a shell is born deaf to SIGINT; a user at a terminal is not in the background."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})


def test_ctrl_c_ends_with_one_line(tiny_file, tmp_path):
    root = tmp_path / "interrupted"
    process = start(tiny_file, root, start_new_session=True, preexec_fn=hears_ctrl_c)
    while files_like(root, "*.safetensors") < 1:
        time.sleep(0.01)
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does: to the workers too
    output, _ = process.communicate()
    assert process.returncode == 130, output
    assert output.splitlines()[-1] == "lossatlas: interrupted: run the same command again to go on"
    assert "Traceback" not in output


@pytest.mark.slow
def test_a_full_disk_is_one_line_and_loses_nothing(finished: Store, tiny_file, tmp_path):
    root = tmp_path / "full"
    # A limit on the size of a file acts as a full disk does: the write fails part of the way.
    limit = max(len(data) for name, data in contents(finished.root).items() if name.endswith(".nc")) - 1

    def small_files() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))

    process = start(tiny_file, root, preexec_fn=small_files)
    output, _ = process.communicate()
    assert process.returncode == 1
    assert "Traceback" not in output
    assert "File too large" in output
    assert not list(root.rglob("*.partial"))
    # With room again, the same command finishes the work.
    assert start(tiny_file, root).communicate()[0].count("failed") == 0
    assert contents(root) == contents(finished.root)


class OneSecondEach:
    """An estimate by which every network takes a second for anything."""

    def training(self, runs):
        return 1.0 * len(runs)

    def run(self, run, probes):
        return 1.0

    def pairs(self, runs):
        return 1.0

    def family(self, runs):
        return 1.0


def test_a_stage_takes_its_longest_job_or_its_share_of_all(tiny, tmp_path):
    with claim(tmp_path / "new", tiny, None) as store:
        runs, pairs, families = (
            len(tiny.all_runs()),
            2 * 2 + 2 * 2,
            2 * 2,
        )  # configurations, and seeds of both optimizers
        one, many = (expected(store, OneSecondEach(), figures=True, workers=count) for count in (1, 100))
    assert one["training"] == runs
    assert many["training"] == runs / 2  # of two groups, which train as wholes
    assert one["probes"] == runs + pairs + families
    assert many["probes"] == 1.0
    assert one["figures"] > many["figures"] > 0


def test_a_finished_study_expects_nothing(finished: Store):
    assert expected(finished, OneSecondEach(), figures=True, workers=2) == {}


def test_a_network_that_could_not_be_trained_keeps_no_other_from_its_weight_decays(finished: Store, tmp_path):
    """Its family is left out: there are no weights of it to read."""
    shutil.copytree(finished.root, tmp_path / "copy")
    store = Store(tmp_path / "copy", finished.study)
    lost = next(iter(store.study.regularization_runs()))
    for run in store.study.regularization_runs():
        store.family_file(run, "slice_by_weight_decay").unlink(missing_ok=True)
    shutil.rmtree(store.run_folder(lost))
    jobs = [job for job in _measuring_jobs(store, OneSecondEach()) if job.work is measure_family]
    families = {(*job.arguments[1][0].group, job.arguments[1][0].optimizer) for job in jobs}
    every = {(*run.group, run.optimizer) for run in store.study.regularization_runs()}
    assert families == every - {(*lost.group, lost.optimizer)}
