"""The command line as a user meets it: what it prints, and the exit status."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from lossatlas.cli import main, parse
from lossatlas.study.commands import List, Report, Run, Show
from lossatlas.study.store import Store


def test_commands_are_values():
    command = parse(["run", "smoke", "--out", "x", "--training.epochs", "5", "--model.width", "8", "9", "--no-figures"])
    assert isinstance(command, Run)
    assert (command.study, command.out, command.figures) == ("smoke", Path("x"), False)
    assert command.fields.training.epochs == 5
    assert command.fields.training.seeds == (0, 1)  # what smoke.toml says
    assert command.fields.model.grid() == ("1x8", "1x9", "2x8", "2x9")
    assert parse(["report", "there"]) == Report(Path("there"))
    assert parse(["list", "there"]) == List(Path("there"))
    assert parse(["show", "seed=0", "--folder", "there"]) == Show("seed=0", Path("there"))


def test_the_default_study_is_the_main_job():
    command = parse(["run"])
    assert isinstance(command, Run)
    assert (command.study, command.out, len(list(command.fields.runs()))) == ("moons", Path("reports"), 90)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("run spiral", "there is no study 'spiral': wanted one of"),
        ("run moons --data.datasets spiral", "invalid choice 'spiral' for argument '--data.datasets'"),
        ("run moons --model.activations swish", "invalid choice 'swish'"),
        ("run moons --model.width 0", "model.width: wanted greater than or equal to 1, got 0"),
        ("run moons --model.architectures 4by250", "architecture '4by250': wanted <hidden layers>x<width>"),
        ("run moons --training.epocs 3", "Unrecognized options: --training.epocs, 3 (did you mean --training.epochs?)"),
        ("run moons --training.epochs many", "--training.epochs: invalid literal for int() with base 10: 'many'"),
        ("run moons --probes.random-slice.plane-steps 4", "plane_steps: wanted an odd number"),
        ("run --out x smoke", "the study comes before the options: lossatlas run smoke"),
        ("launch", "launch"),
        ("report nowhere", "nowhere holds no study"),
        ("list nowhere", "nowhere holds no study"),
        ("show seed=0 --folder nowhere", "nowhere holds no study"),
    ],
)
def test_unusable_input_is_one_line_and_status_2(arguments, message, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "40")  # a narrow terminal breaks no message
    assert main(arguments.split()) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    (line,) = printed.err.splitlines()
    assert line.startswith("lossatlas: ")
    assert message in line
    assert list(tmp_path.iterdir()) == []  # nothing written


def test_a_study_file_that_is_not_toml(capsys, tmp_path):
    file = tmp_path / "bad.toml"
    file.write_text("epochs: 3")
    assert main(["run", str(file), "--out", str(tmp_path / "out")]) == 2
    assert "is not a TOML file" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


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
    assert "hessian_spectrum.png" in printed
    assert main(["show", str(finished.run_folder(run)), "--folder", str(finished.root)]) == 0
    assert capsys.readouterr().out == printed


@pytest.mark.parametrize(("named", "found"), [("seed=0", "12 match"), ("seed=7", "none matches")])
def test_show_wants_one_run(finished: Store, named, found, capsys):
    assert main(["show", named, "--folder", str(finished.root)]) == 2
    assert found in capsys.readouterr().err


def test_help_lists_every_field():
    done = subprocess.run(
        [sys.executable, "-m", "lossatlas", "run", "--help"], capture_output=True, text=True, check=True
    )
    for field in ("--training.epochs", "--data.noise", "--probes.hessian.eigenvalues", "--no-figures"):
        assert field in done.stdout


def test_no_command_shows_the_commands(capsys):
    with pytest.raises(SystemExit) as stop:
        main([])
    assert not stop.value.code
    printed = capsys.readouterr().out
    assert all(command in printed for command in ("run", "report", "list", "show"))
