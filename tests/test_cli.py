"""The command line: which command its words name, and the one line about words that name none."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
from tyro import _errors

from lossatlas.cli import main, parse, words
from lossatlas.cli.messages import flags, rejection
from lossatlas.errors import InputError
from lossatlas.model_report.commands import Check, Probe
from lossatlas.study.commands import List, Report, Run, Show

COMMANDS = {"run": Run, "report": Report, "list": List, "show": Show, "probe": Probe, "check": Check}


# What the words name ------------------------------------------------------------------------------------------------


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
    assert parse(["check", "--dtype", "float32"]) == Check(dtype="float32")


def test_a_probe_has_shared_flags_and_its_own():
    command = parse(["probe", "m.py:problem", "--seed", "3", "--random-plane.steps", "9", "--spectrum.max_products=5"])
    assert isinstance(command, Probe)
    assert (command.problem, command.shared.seed, command.shared.steps) == ("m.py:problem", 3, None)
    assert (command.own.random_plane.steps, command.own.spectrum.max_products) == (9, 5)


def test_the_default_study_is_moons():
    command = parse(["run"])
    assert isinstance(command, Run)
    assert (command.study, command.out, len(list(command.fields.runs()))) == ("moons", Path("reports"), 420)


# What is wrong with them --------------------------------------------------------------------------------------------


def refused(arguments: list[str], capsys) -> str:
    """The one line that the command line prints about unusable arguments."""
    assert main(arguments) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    (line,) = printed.err.splitlines()
    assert line.startswith("lossatlas: ")
    return line.removeprefix("lossatlas: ")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("launch", "there is no command 'launch': wanted one of run, report, list, show, probe, check"),
        ("prob x:y", "there is no command 'prob' (did you mean probe?): wanted one of run, "),
        ("--out x run", "there is no command '--out': wanted one of run, "),
        ("probe", "problem is missing: see `lossatlas probe --help`"),
        ("probe --steps 5", "problem is missing: see `lossatlas probe --help`"),
        ("probe --stpes 5", "there is no option --stpes (did you mean --steps?): see `lossatlas probe --help`"),
        ("probe x:y z", "'z' belongs to no option: see `lossatlas probe --help`"),
        ("probe x:y --exact yes", "'yes' belongs to no option: see `lossatlas probe --help`"),
        ("probe x:y --probes nonsense", "--probes: wanted one of interpolate, random_line, random_plane, "),
        ("probe x:y --probes spectrun", "got 'spectrun' (did you mean spectrum?)"),
        ("probe x:y --precision half", "--precision: wanted one of auto, float32, float64, got 'half'"),
        ("probe x:y --steps 4", "--steps is 4: wanted an odd number of at least 3"),
        ("probe x:y --steps", "--steps: wanted INT, got nothing"),
        ("probe x:y --seed=1.5", "--seed: wanted INT (invalid literal for int() with base 10: '1.5')"),
        ("probe x:y --spectrum.k 0", "--spectrum.k is 0: wanted at least 1"),
        ("probe x:y --spectrum.k many", "--spectrum.k: wanted INT (invalid literal for int() with base 10: 'many')"),
        ("probe x:y --spectrum.max-products 0", "--spectrum.max-products is 0: wanted at least 1"),
        ("probe x:y --random_plane.steps 4", "--random-plane.steps is 4: wanted an odd number of at least 3"),
        ("probe x:y --random-plane.radius nan", "--random-plane.radius is nan: wanted a number above 0"),
        ("probe x:y --random-plane.stpes 5", "no option --random-plane.stpes (did you mean --random-plane.steps?)"),
        ("probe x:y --random_plane.stpes=5", "no option --random_plane.stpes (did you mean --random-plane.steps?)"),
        ("probe x:y --max-products 5", "no option --max-products (did you mean --spectrum.max-products?)"),
        ("probe x:y --training.epochs 3", "no option --training.epochs: see `lossatlas probe --help`"),
        ("check --dtype float16", "--dtype: wanted one of float32, float64, got 'float16'"),
        ("run spiral", "there is no study 'spiral': wanted one of"),
        ("run --out x smoke", "the study comes before the options: lossatlas run smoke"),
        ("run smoke --no-figuers", "there is no option --no-figuers (did you mean --no-figures?)"),
        ("run smoke --training.epocs 3", "there is no option --training.epocs (did you mean --training.epochs?)"),
        ("run smoke --epochs 3", "there is no option --epochs (did you mean --training.epochs?)"),
        ("run smoke --training.epochs many", "--training.epochs: wanted INT (invalid literal for int()"),
        ("run smoke --training.epochs 0", "--training.epochs: wanted greater than or equal to 1, got 0"),
        ("run smoke --training.sgd-learning-rate 0", "--training.sgd-learning-rate: wanted greater than 0, got 0.0"),
        ("run smoke --training.seeds 0 1 0", "--training.seeds: wanted every entry once, 0 is there more than once"),
        ("run smoke --data.datasets spiral", "--data.datasets: wanted one of moons, circles, gaussians, xor, got 'spi"),
        ("run smoke --model.activations swish", "--model.activations: wanted one of relu, tanh, gelu, got 'swish'"),
        ("run smoke --model.width 0", "--model.width: wanted greater than or equal to 1, got 0"),
        ("run smoke --model.architectures 4by250", "--model.architectures: architecture '4by250': wanted <hidden lay"),
        ("run smoke --model.architectures", "model: no architecture: give architectures, or both depth and width"),
        ("run smoke --probes.run hessian", "--probes.run: wanted one of interpolate, random_line, "),
        ("run smoke --probes.random-plane.steps 4", "--probes.random-plane.steps is 4: wanted an odd number of at le"),
        (
            "run smoke --training.epochs 1 --probes.run trajectory_plane",
            "study: trajectory_plane wants at least 2 training.epochs: with one there is no path to lay it through",
        ),
        ("report nowhere", "nowhere holds no study"),
        ("list nowhere", "nowhere holds no study"),
        ("list a b", "'b' belongs to no option: see `lossatlas list --help`"),
        ("show", "run is missing: see `lossatlas show --help`"),
        ("show seed=0 --folder nowhere", "nowhere holds no study"),
    ],
)
def test_unusable_input_is_one_line_and_status_2(arguments, message, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "40")  # a narrow terminal breaks no message
    assert message in refused(arguments.split(), capsys)
    assert list(tmp_path.iterdir()) == []  # refused before any work: nothing written


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("epochs: 3", "is not a TOML file"),
        ("[probes.hessian]\neigenvalues = 3", "there is no field probes.hessian: see `lossatlas run --help`"),
        ("[probes.spectrum]\neigenvalues = 3", "there is no field probes.spectrum.eigenvalues"),
        ("[probes.spectrum]\nk = 0", "probes.spectrum.k is 0: wanted at least 1"),
        ("[training]\nepocs = 3", "there is no field training.epocs"),
        ('[probes]\nrun = ["hessian"]', "got 'hessian'"),
        (
            '[training]\nepochs = 1\n[probes]\nrun = ["trajectory_plane"]',
            "study: trajectory_plane wants at least 2 training.epochs: with one there is no path to lay it through",
        ),
    ],
)
def test_an_unusable_study_file_is_one_line_and_status_2(text, message, capsys, tmp_path):
    file = tmp_path / "bad.toml"
    file.write_text(text)
    line = refused(["run", str(file), "--out", str(tmp_path / "out")], capsys)
    assert line.startswith(str(file))
    assert message in line
    assert not (tmp_path / "out").exists()


def test_a_missing_package_is_named(monkeypatch):
    monkeypatch.setattr(words, "STUDY_NEEDS", ("no_such_package",))
    with pytest.raises(InputError, match=r"lossatlas run needs no_such_package, .*pip install 'lossatlas\[study\]'"):
        parse(["run"])
    with pytest.raises(InputError, match=r"no command 'launch': wanted one of probe, check$"):
        parse(["launch"])


def test_an_event_of_another_kind_is_left_to_tyro():
    event = _errors.MutexConflict("lossatlas", None, None, "--a", "--b")  # pyright: ignore[reportArgumentType]
    assert rejection(event, ["check"], COMMANDS) is None


# What help shows ----------------------------------------------------------------------------------------------------


def test_what_help_says_of_a_command_is_what_its_type_says():
    known = words.OF_A_STUDY | words.OF_A_MODEL
    assert set(known) == set(COMMANDS)
    for word, text in known.items():
        said = " ".join((COMMANDS[word].__doc__ or "").split())
        assert said.startswith(text.removesuffix("."))


@pytest.mark.parametrize(
    ("arguments", "status", "said"),
    [
        ((), 0, "usage: lossatlas COMMAND"),
        (("--help",), 0, "Train the networks of a study"),
        (("-h",), 0, "lossatlas COMMAND --help"),
        (("--version",), 0, "lossatlas 0."),
        (("prob",), 2, "did you mean probe?"),
    ],
)
def test_what_there_is_is_said_without_torch(arguments, status, said):
    code = (
        "import sys; from lossatlas.cli import main\n"
        "try:\n    status = main(sys.argv[1:])\n"
        "except SystemExit as stop:\n    status = stop.code or 0\n"
        "heavy = {'torch', 'matplotlib', 'plotly', 'sklearn', 'h5py', 'tyro'} & set(sys.modules)\n"
        "print(heavy or 'light'); sys.exit(status)"
    )
    done = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == status
    assert said in " ".join((done.stdout + done.stderr).split())
    assert done.stdout.splitlines()[-1] == "light"


def test_a_name_of_the_package_is_imported_when_it_is_asked_for():
    code = (
        "import sys, lossatlas, xarray as xr; assert 'torch' not in sys.modules; "
        "assert 'Atlas' in repr(xr.Dataset().atlas); "
        "assert {'Loss', 'random_plane', 'PROBES'} <= set(dir(lossatlas)); "
        "assert lossatlas.Loss.__name__ == 'Loss' and lossatlas.loss.loss; from lossatlas import *; spectrum; "
        "assert not hasattr(lossatlas, 'no_such_name')"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize("command", COMMANDS)
def test_the_flags_of_a_command_are_those_that_tyro_has(command, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "120")  # wider, tyro puts groups side by side
    with pytest.raises(SystemExit) as stop:
        parse([command, "--help"])
    assert not stop.value.code
    printed = re.findall(r"^\W*(--[a-z].*)", capsys.readouterr().out, flags=re.MULTILINE)
    shown = [flag for line in printed for flag in re.findall(r"--[a-z][\w.-]*", line)]
    assert sorted(shown) == sorted(set(shown))  # each is described once
    assert set(shown) - {"--help"} == set(flags(COMMANDS[command]))


def test_the_help_of_probe_has_a_group_for_each_probe(monkeypatch):
    monkeypatch.setenv("COLUMNS", "120")
    done = subprocess.run(
        [sys.executable, "-m", "lossatlas", "probe", "--help"], capture_output=True, text=True, check=True
    )
    assert done.stderr == ""
    groups = re.findall(r"([\w-]+) options", done.stdout)
    own = [re.sub("_", "-", name) for name in vars(Probe("x:y").own)]
    assert [group for group in groups if group in own] == own
    assert "(default: each plane's own)" in done.stdout
    assert "(default: where the model is)" in done.stdout


def test_no_command_shows_the_commands(capsys):
    with pytest.raises(SystemExit) as stop:
        main([])
    assert not stop.value.code
    printed = capsys.readouterr().out
    assert all(command in printed for command in COMMANDS)
