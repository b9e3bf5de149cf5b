"""The commands of a study as a user meets them: what they print, and the exit status."""

from __future__ import annotations

import shutil

import pytest

from lossatlas.cli import main
from lossatlas.study.store import Store


def test_an_output_folder_that_cannot_be_written(capsys, tmp_path):
    (tmp_path / "file").write_text("")
    assert main(["run", "smoke", "--out", str(tmp_path / "file")]) == 2
    assert "cannot write to" in capsys.readouterr().err


def test_a_store_of_another_study(finished: Store, tmp_path, capsys):
    shutil.copytree(finished.root, tmp_path / "copy")
    assert main(["run", "smoke", "--out", str(tmp_path / "copy")]) == 2
    assert "holds a study with" in capsys.readouterr().err


def test_a_truncated_checkpoint(finished: Store, tiny_file, tmp_path, capsys):
    root = tmp_path / "copy"
    shutil.copytree(finished.root, root)
    copy = Store(root, finished.study)
    run = next(copy.study.runs())
    file = copy.checkpoint_files(run)[1]
    whole = file.read_bytes()
    file.write_bytes(whole[:-1])
    assert main(["run", str(tiny_file), "--out", str(root)]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert f"{file.name} is damaged (wanted {len(whole)} bytes, got {len(whole) - 1})" in line
    # What the line says to do mends it.
    shutil.rmtree(copy.run_folder(run))
    assert main(["run", str(tiny_file), "--out", str(root)]) == 0
    assert file.read_bytes() == whole


def test_list_and_show(finished: Store, capsys):
    assert main(["list", str(finished.root)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 1 + 16
    assert all("done" in line for line in lines[1:])
    named = ["arch=1x5/optimizer=adam/seed=1", "--folder", str(finished.root)]
    assert main(["show", *named]) == 0
    printed = capsys.readouterr().out
    run = next(r for r in finished.study.runs() if (r.architecture, r.optimizer, r.seed) == ("1x5", "adam", 1))
    assert str(run) in printed
    assert f"{finished.metrics(run)['test_loss']:.6g}" in printed
    assert "top_eigenvalue" in printed
    assert "spectrum_spectrum.png" in printed
    assert main(["show", str(finished.run_folder(run)), "--folder", str(finished.root)]) == 0
    assert capsys.readouterr().out == printed


@pytest.mark.parametrize(("named", "found"), [("seed=0", "12 match"), ("seed=7", "none matches")])
def test_show_wants_one_run(finished: Store, named, found, capsys):
    assert main(["show", named, "--folder", str(finished.root)]) == 2
    assert found in capsys.readouterr().err
