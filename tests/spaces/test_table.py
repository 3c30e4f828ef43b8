"""Tables of small files written here, and the real table's published facts."""

import math
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from nasjax.core.errors import UserError
from nasjax.spaces.nasbench201 import architectures, from_string, to_string
from nasjax.spaces.official import convert
from nasjax.spaces.table import Table, packaged

SHARED = Path(__file__).resolve().parents[2].parent / "shared" / "data"
DATA = Path(os.environ.get("NASJAX_DATA", SHARED)) / "nasbench201" / "nasbench201.csv"

NONE = "|none~0|+|none~0|none~1|+|none~0|none~1|none~2|"
SKIP = NONE.replace("none", "skip_connect")
CONV = NONE.replace("none", "nor_conv_3x3")
POOL = NONE.replace("none", "avg_pool_3x3")
NEEDED = "cifar10_test_200ep,cifar100_test_200ep,imagenet16_test_200ep"
HEADER = f"arch,{NEEDED},extra,word"
ROWS = (
    f"{SKIP},50.5,15,16,1,a",
    f"{NONE},10,1,0.8,,a",
    f"{CONV},93,70,44,2.5,a",
    f"{POOL},50.5,20,17,-1,a",
)


def write(path, *rows, header=HEADER):
    file = path / "table.csv"
    file.write_text("\n".join((header, *rows)) + "\n")
    return file


@pytest.fixture
def table(tmp_path):
    return Table.read(write(tmp_path, *ROWS))


def test_accuracies_by_string_and_by_genotype(table):
    expected = {"cifar10": 93.0, "cifar100": 70.0, "imagenet16": 44.0}
    assert table.accuracy(CONV) == table.accuracy(from_string(CONV)) == expected
    assert table.architectures == (SKIP, NONE, CONV, POOL)


def test_columns_are_in_the_order_of_the_file(table):
    extra = table.column("extra")
    assert extra.dtype == np.float64
    np.testing.assert_array_equal(extra, [1, np.nan, 2.5, -1])
    assert table.column("extra") is extra and not extra.flags.writeable


@pytest.mark.parametrize(
    ("text", "rank", "percentile"),
    [(CONV, 1, 75.0), (SKIP, 2, 25.0), (POOL, 2, 25.0), (NONE, 4, 0.0)],
)
def test_ranks_and_percentiles_of_equals_are_equal(table, text, rank, percentile):
    assert table.rank(text) == rank
    assert table.percentile(text) == percentile


def test_cells_without_a_number_do_not_count(table):
    assert table.best() == table.best("extra") == CONV
    assert table.rank(POOL, "extra") == 3
    assert table.percentile(SKIP, "extra") == pytest.approx(100 / 3)
    with pytest.raises(UserError, match="no value for this architecture"):
        table.rank(NONE, "extra")


def test_what_is_not_in_the_table(table):
    other = NONE.replace("none~2", "skip_connect~2")
    with pytest.raises(UserError, match=r"is not in .*, which has 4 of the 15625"):
        table.accuracy(from_string(other))
    with pytest.raises(UserError, match="Node 1 of the architecture"):
        table.row("none+none+none")
    with pytest.raises(UserError, match="Unknown column 'extre'; did you mean 'extra'"):
        table.column("extre")
    with pytest.raises(UserError, match="'word' .* does not hold numbers"):
        table.column("word")
    with pytest.raises(UserError, match="no value for 15622 of the 15625"):
        table.grid("extra")


def test_files_that_are_no_tables(tmp_path):
    with pytest.raises(UserError, match="Cannot read the table .*: No such file"):
        Table.read(tmp_path / "nowhere.csv")
    with pytest.raises(UserError, match="Cannot read the table .*: Is a directory"):
        Table.read(tmp_path)
    (tmp_path / "table.npz").write_bytes(bytes(range(256)))
    with pytest.raises(UserError, match="is not a CSV file"):
        Table.read(tmp_path / "table.npz")
    (tmp_path / "empty.csv").write_text("")
    with pytest.raises(UserError, match="does not name the columns arch, cifar10_test"):
        Table.read(tmp_path / "empty.csv")


@pytest.mark.parametrize(
    ("rows", "sentence"),
    [
        ([], "has no rows"),
        ([*ROWS, ROWS[1]], f"has the architecture {NONE} twice, in rows 2 and 5"),
        ([*ROWS, ROWS[1][:-2]], "row 5: there are 5 cells, but 6 columns"),
        ([ROWS[0].replace("~2", "~4")], "row 1: Node 3 of the architecture"),
    ],
)
def test_rows_that_are_wrong(tmp_path, rows, sentence):
    with pytest.raises(
        UserError, match=sentence.replace("|", r"\|").replace("+", r"\+")
    ):
        Table.read(write(tmp_path, *rows))


def test_missing_columns_are_named(tmp_path):
    file = write(tmp_path, header=HEADER.replace("cifar100_test_200ep", "cifar100"))
    with pytest.raises(UserError, match="not name the columns cifar100_test_200ep; it"):
        Table.read(file)


def test_a_grid_is_indexed_by_the_operations_of_the_edges(tmp_path):
    every = [to_string(genotype) for genotype in architectures()]
    rows = [f"{text},{i % 89},0,0,{i},w" for i, text in enumerate(every)]
    table = Table.read(write(tmp_path, *reversed(rows)))
    grid = table.grid("extra")
    assert grid.shape == (5,) * 6
    assert grid[1, 1, 1, 1, 1, 1] == table.column("extra")[table.row(SKIP)]
    mixed = "|none~0|+|skip_connect~0|nor_conv_1x1~1|+|nor_conv_3x3~0|avg_pool_3x3~1|"
    row = table.row(mixed + "none~2|")
    assert grid[0, 1, 2, 3, 4, 0] == table.column("extra")[row]


@pytest.mark.parametrize("module", ["table", "rules", "load"])
def test_jax_is_not_needed(module):
    code = f"import sys, nasjax.spaces.{module}; sys.exit('jax' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_the_published_facts_of_the_packaged_table():
    table = packaged()
    assert len(table.architectures) == 15_625
    assert table.row(table.best()) == 6111
    assert table.accuracy(table.best())["cifar10"] == 94.3733
    assert table.column("cifar100_test_200ep").max() == 73.5133
    assert table.column("imagenet16_test_200ep").max() == 47.3111
    assert table.accuracy(NONE)["cifar10"] == 10.0
    assert table.accuracy(SKIP)["cifar10"] == 54.2967
    assert table.rank(table.best()) == 1
    assert table.row(table.architectures[77]) == 77
    valid = table.column("cifar10_valid_200ep")
    assert (~np.isnan(valid)).sum() == 9_445 and math.isnan(valid[3])
    assert set(table.accuracies) - set(table.full) == {"cifar10_valid_200ep"}
    with pytest.raises(UserError, match="for 6180 of .* take cifar10_test_200ep or"):
        table.grid("cifar10_valid_200ep")
    assert packaged() is table and table.path.stat().st_size < 400_000


def test_the_documented_snippet_runs(capsys):
    page = Path(__file__).parents[2] / "docs" / "nasbench201.md"
    block = page.read_text("utf-8").split("```python\n")[1].split("```")[0]
    exec(compile(block, str(page), "exec"), {})
    assert "'cifar100': 73.5133" in capsys.readouterr().out


@pytest.mark.skipif(not DATA.exists(), reason="needs NASJAX_DATA/nasbench201")
def test_the_packaged_table_has_every_cell_of_its_source():
    source, own = Table.read(DATA), packaged()
    assert own.accuracies == source.accuracies
    for name in ("arch", *own.accuracies):
        assert own.columns[name] == source.columns[name]


@pytest.mark.parametrize("name", ["small.csv", "small.csv.xz"])
def test_a_table_is_kept_as_it_is_when_it_is_converted(tmp_path, name):
    """Rows that are not in the order of the numbers, and cells that are empty."""
    given = tmp_path / "given.csv"
    given.write_text(
        f"arch,n,c_test_12ep,{NEEDED}\n{POOL},7,,1,2.50,3\n{NONE},8,,4,5,6\n"
    )
    convert(given, tmp_path / name)
    table = Table.read(tmp_path / name)
    assert table.architectures == (POOL, NONE)
    assert list(table.columns) == ["arch", "c_test_12ep", *NEEDED.split(",")]
    assert table.columns["cifar100_test_200ep"] == ("2.50", "5")
    assert table.columns["c_test_12ep"] == ("", "")


def test_a_compressed_file_that_is_none(tmp_path, monkeypatch):
    (tmp_path / "a.csv.xz").write_text("arch")
    (tmp_path / "cut.csv.xz").write_bytes(packaged().path.read_bytes()[:1000])
    for name in ("a.csv.xz", "cut.csv.xz"):
        with pytest.raises(UserError, match="is not a CSV file"):
            Table.read(tmp_path / name)
    monkeypatch.setitem(sys.modules, "lzma", None)
    with pytest.raises(UserError, match="built without lzma; give a .csv file"):
        Table.read(packaged().path)
