"""Miniatures in the layouts of the benchmark's files, written here."""

import bz2
import collections
import os
import pickle
import zipfile

import numpy as np
import pytest
from support.pictures import refused

from nasjax import cli
from nasjax.spaces.official import convert
from nasjax.spaces.table import Table

NONE = "|none~0|+|none~0|none~1|+|none~0|none~1|none~2|"
SKIP = NONE.replace("none", "skip_connect")
MAGIC = 0x1950A86A20F9469CFC6C


def results(arch, epochs, runs):
    """State of the benchmark's ArchResults; runs: (data set, seed) -> accuracies."""
    trained = {}
    for (data, seed), sets in runs.items():
        evaluated = {f"{name}@{epochs - 1}": value for name, value in sets.items()}
        evaluated |= {f"{name}@0": 1.0 for name in sets}  # another epoch
        trained[data, seed] = {
            "name": "infer.tiny", "seed": seed, "epochs": epochs, "params": 0.07,
            "eval_names": list(sets), "eval_acc1es": evaluated, "latency": None,
            "net_state_dict": None, "arch_config": {"arch_str": arch},
        }  # fmt: skip
    seeds = collections.OrderedDict()
    for data, seed in runs:
        seeds.setdefault(data, []).append(seed)
    return {"arch_str": arch, "all_results": trained, "dataset_seed": seeds}


LONG = {
    ("cifar10-valid", 777): {"x-valid": 80.0, "ori-test": 7.0},
    ("cifar10", 777): {"ori-test": 90.0},
    ("cifar10", 888): {"ori-test": np.float64(91.0)},  # pickled by its class
    ("cifar100", 777): {"x-valid": 60.0, "x-test": 61.0, "ori-test": 7.0},
    ("ImageNet16-120", 777): {"x-valid": 40.0, "x-test": 41.0, "ori-test": 7.0},
}
SHORT = {
    ("cifar10-valid", 777): {"x-valid": 50.0},
    ("cifar10", 777): {"ori-test": 55.0},
}


def content(less="less", full="full"):
    infos = {
        index: {less: results(arch, 12, SHORT), full: results(arch, 200, LONG)}
        for index, arch in enumerate((NONE, SKIP))
    }
    return {
        "meta_archs": [NONE, SKIP],
        "arch2infos": infos,
        "evaluated_indexes": [0, 1],
    }


def old_torch(path):
    with open(path, "wb") as file:
        for part in (MAGIC, 1001, {"little_endian": True}, content(), []):
            pickle.dump(part, file, 2)


def new_torch(path):
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", pickle.dumps(content(), 2))


def nats(path):
    with bz2.open(path, "wb") as file:
        pickle.dump(content("12", "200"), file, 4)


def simple(path):
    path.mkdir()
    every = content("12", "200")
    parts = {"meta": {"meta_archs": every["meta_archs"]}}
    parts |= {f"{index:06d}": info for index, info in every["arch2infos"].items()}
    for name, part in parts.items():
        with bz2.open(path / f"{name}.pickle.pbz2", "wb") as file:
            pickle.dump(part, file, 4)


@pytest.mark.parametrize(
    ("write", "name"),
    [
        (old_torch, "NAS-Bench-201-v1_1-096897.pth"),
        (new_torch, "NAS-Bench-201-v1_1.pth"),
        (nats, "NATS-tss-v1_0-3ffb9.pickle.pbz2"),
        (simple, "NATS-tss-v1_0-3ffb9-simple"),
    ],
)
def test_official_layouts_become_a_table(tmp_path, capsys, write, name):
    write(tmp_path / name)
    file = tmp_path / "table.csv"
    given = ["testbed", "--convert", str(tmp_path / name), "-o", str(file)]
    assert cli.main(given) == 0
    assert "2 architectures" in capsys.readouterr().out
    table = Table.read(file)
    assert table.architectures == (NONE, SKIP)
    assert table.accuracy(SKIP) == {"cifar10": 90.5, "cifar100": 61, "imagenet16": 41}
    assert table.column("cifar10_valid_12ep").tolist() == [50, 50]
    assert table.column("cifar10_valid_200ep").tolist() == [80, 80]
    assert np.isnan(table.column("cifar100_valid_12ep")).all()


@pytest.mark.parametrize(
    ("output", "words"),
    [
        ("missing/folder/t.csv", "there is no folder"),
        ("file/t.csv", "there is no folder"),
        (".", "directory"),
    ],
)
def test_a_table_that_cannot_be_written(tmp_path, capsys, output, words):
    old_torch(tmp_path / "file")
    given = ["--convert", str(tmp_path / "file"), "-o", str(tmp_path / output)]
    assert cli.main(["testbed", *given]) == 2
    err = capsys.readouterr().err
    assert (
        words in err and "give another file with -o." in err and "--workdir" not in err
    )


class Evil:
    def __reduce__(self):
        return os.mkdir, ("owned",)


def test_other_files_are_refused_and_code_in_them_does_not_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name, what, words in (
        ("evil", Evil(), "it holds posix.mkdir"),
        ("list", [1, 2], "TypeError"),
        ("keys", {"meta_archs": [NONE]}, "KeyError: 'arch2infos'"),
        (
            "sizes",
            {"meta_archs": ["64:64"], "arch2infos": {0: {}}},
            "is no file of cells",
        ),
    ):
        (tmp_path / name).write_bytes(pickle.dumps(what))
        refused(words, convert, str(tmp_path / name), "table.csv")
    (tmp_path / "text").write_text("arch,cifar10")
    refused("give NAS-Bench-201-v1_1", convert, str(tmp_path / "text"), "table.csv")
    refused("No such file", convert, str(tmp_path / "nowhere"), "table.csv")
    assert not (tmp_path / "owned").exists()
    assert not (tmp_path / "table.csv").exists()


@pytest.mark.parametrize(
    "given",
    [["--convert", "a.pth"], ["table.csv", "--convert", "a.pth", "-o", "b.csv"]],
)
def test_arguments_that_do_not_go_together(given, capsys):
    with pytest.raises(SystemExit) as stop:
        cli.main(["testbed", *given])
    assert stop.value.code == 2
    assert "--convert" in capsys.readouterr().err
