"""A damaged file of a study is named, and `--repair` makes it anew, to the same bytes."""

from __future__ import annotations

import random
import shutil
from pathlib import Path

import pytest

from lossatlas.cli import main
from lossatlas.errors import InputError
from lossatlas.study.manifest import check_manifest, damaged_files, manifest_file, repair, write_manifest
from lossatlas.study.store import Store, open_store
from tests.study.tiny import contents


@pytest.fixture
def store(finished: Store, tmp_path) -> Store:
    shutil.copytree(finished.root, tmp_path / "store")
    return open_store(tmp_path / "store")


def measured(store: Store) -> list[Path]:
    """Every file that the manifest knows."""
    lines = manifest_file(store.root).read_text().splitlines()[1:-1]
    return [manifest_file(store.root).parent / line.split(",")[0] for line in lines]


def test_a_finished_study_has_every_file_in_its_manifest(store: Store):
    kinds = {file.name for file in measured(store)}
    assert {"metrics.json", "history.csv", "config.json", "final.safetensors", "pairs.json"} <= kinds
    assert any(file.suffix == ".nc" for file in measured(store))
    assert damaged_files(store.root) == []
    before = manifest_file(store.root).read_bytes()
    write_manifest(store.root)
    assert manifest_file(store.root).read_bytes() == before


def test_any_single_damage_is_noticed(store: Store):
    """A flipped bit, a block of zeros, a byte less, one more: of every kind of file, at a place of its own."""
    rng = random.Random(0)
    for file in measured(store):
        whole = file.read_bytes()
        place = rng.randrange(len(whole))
        for damage in (
            whole[:place] + bytes([whole[place] ^ (1 << rng.randrange(8))]) + whole[place + 1 :],
            whole[:place] + bytes(len(whole[place : place + 64])) + whole[place + 64 :],
            whole[:-1],
            whole + b"\n",
        ):
            if damage == whole:
                continue
            file.write_bytes(damage)
            assert damaged_files(store.root) == [file]
            with pytest.raises(InputError, match="run again with --repair"):
                check_manifest(store.root)
        file.write_bytes(whole)
    assert damaged_files(store.root) == []


@pytest.mark.parametrize("command", ["report", "list", "run"])
def test_a_command_names_what_is_damaged_and_ends(store: Store, command, tiny_file, capsys):
    file = next(one for one in measured(store) if one.name == "pairs.json")
    file.write_bytes(file.read_bytes().replace(b"pairs", b"qairs"))
    words = [command, str(tiny_file), "--out", str(store.root)] if command == "run" else [command, str(store.root)]
    assert main(words) == 2
    line = " ".join(capsys.readouterr().err.split())
    assert str(file) in line
    assert "--repair" in line


def test_a_file_that_is_missing_or_was_added_is_no_damage(store: Store):
    measured(store)[0].unlink()
    (manifest_file(store.root).parent / "note.txt").write_text("mine")
    check_manifest(store.root)


def test_a_damaged_manifest_says_so(store: Store):
    path = manifest_file(store.root)
    path.write_bytes(path.read_bytes().replace(b".nc,", b".nb,", 1))
    with pytest.raises(InputError, match=r"manifest\.csv is damaged"):
        check_manifest(store.root)
    assert repair(store) == [path]
    check_manifest(store.root)


def test_a_damaged_checkpoint_has_its_group_trained_again(store: Store):
    file = next(one for one in measured(store) if one.name == "final.safetensors")
    whole = bytearray(file.read_bytes())
    whole[-3] ^= 1
    file.write_bytes(whole)
    assert repair(store) == [file]
    assert not file.exists()
    assert not (file.parent.parent / "metrics.json").exists()


@pytest.mark.slow
def test_repair_ends_with_the_bytes_of_a_study_that_nothing_happened_to(
    store: Store, finished: Store, tiny_file, capsys
):
    rng = random.Random(1)
    kinds: dict[str, Path] = {}
    for file in measured(store):
        kinds.setdefault(file.name, file)
    for file in kinds.values():
        whole = bytearray(file.read_bytes())
        whole[rng.randrange(len(whole))] ^= 1 << rng.randrange(8)
        file.write_bytes(whole)
    assert main(["run", str(tiny_file), "--out", str(store.root), "--repair", "--workers", "1"]) == 0
    said = capsys.readouterr().out
    assert f"{len(kinds)} damaged files" in said
    assert contents(store.root / "experiments") == contents(finished.root / "experiments")
