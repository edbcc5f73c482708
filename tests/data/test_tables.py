"""Tables as people have them: dialects, text, dates, missing values, names of rows; the same by `data.read` and the command line."""

from __future__ import annotations

import gzip
import re

import numpy as np
import pytest

from linalign import cli, data
from linalign.data import frames, tables
from linalign.files.npz import FREE
from linalign.interop.dask import compress_parquet

pd = pytest.importorskip("pandas")

ROWS = [(1.5, 2.0, 3.25), (-4.0, 5.5, 6.0), (7.0, -8.0, 9.5), (0.5, 0.25, 1.0)]
NUMBERS = np.array(ROWS)


def write(path, content):
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def cut(delimiter, point=".", header=True):
    lines = (["a,b,c".replace(",", delimiter)] if header else []) + [
        delimiter.join(str(cell).replace(".", point) for cell in row) for row in ROWS
    ]
    return "\n".join(lines) + "\n"


@pytest.mark.parametrize("name", ["t.csv", "t.tsv", "t.txt", "t.dat"])
@pytest.mark.parametrize(
    ("delimiter", "point"), [(",", "."), (";", "."), (";", ","), ("\t", "."), ("\t", ","), ("|", "."), (" ", "."), ("   ", ",")]
)
@pytest.mark.parametrize("header", [True, False])
def test_dialects(tmp_path, name, delimiter, point, header):
    table = data.read(write(tmp_path / name, cut(delimiter, point, header)))
    np.testing.assert_array_equal(table.X, NUMBERS[:, :2])
    np.testing.assert_array_equal(table.Y, NUMBERS[:, 2])
    assert table.inputs == (("a", "b") if header else ("column 0", "column 1"))
    assert table.notes == ()


@pytest.mark.parametrize("encode", [
    lambda text: text.encode("utf-8-sig"), lambda text: text.encode("utf-16"), lambda text: text.replace("a", "\u00e4").encode("latin-1"),
    lambda text: gzip.compress(text.encode()), lambda text: ("# made by hand\n\n# twice\n" + text).encode(), lambda text: text.replace("\n", "\r\n").encode(),
])  # fmt: skip
def test_encodings_and_comments(tmp_path, encode):
    table = data.read(write(tmp_path / "t.csv", encode(cut(","))))
    np.testing.assert_array_equal(table.X, NUMBERS[:, :2])
    assert table.inputs in (("a", "b"), ("\u00e4", "b"))


def test_parquet_and_spreadsheets(tmp_path):
    frame = pd.DataFrame(NUMBERS, columns=["a", "b", "c"]).assign(when=pd.date_range("2020-01-01", periods=4), kind=list("xyxy"))
    frame = frame[["a", "b", "when", "kind", "c"]]
    found = []
    for suffix, module in (("parquet", "pyarrow"), ("xlsx", "openpyxl")):
        pytest.importorskip(module)
        getattr(frame, {"parquet": "to_parquet", "xlsx": "to_excel"}[suffix])(tmp_path / f"t.{suffix}", index=False)
        found.append(data.read(tmp_path / f"t.{suffix}"))
    for table in found:
        assert table.inputs == ("a", "b", "when", "kind=x", "kind=y")
        np.testing.assert_array_equal(table.X[:, 2], 18262.0 + np.arange(4))
        np.testing.assert_array_equal(table.X[:, 3:], [[1, 0], [0, 1], [1, 0], [0, 1]])
        np.testing.assert_array_equal(table.Y, NUMBERS[:, 2])
    with pytest.raises(ValueError, match=r"b\.parquet: no \.parquet file, or a broken one \([^\n]*\)$"):
        data.read(write(tmp_path / "b.parquet", b"PAR1"))


def test_a_parquet_file_that_unpacks_to_far_more_is_refused_by_its_footer(tmp_path):
    pyarrow, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    rows = FREE // 16 + 1
    parquet.write_table(
        pyarrow.table({name: np.zeros(rows, dtype=np.int8) for name in "xy"}), tmp_path / "cells.parquet", row_group_size=rows
    )
    with pytest.raises(
        ValueError, match=rf"^{tmp_path}/cells\.parquet: no \.parquet file, or .* are {2 * rows:,} cells, .* if you trust it\)$"
    ):
        data.read(tmp_path / "cells.parquet")
    noise = np.random.default_rng(0).integers(0, 2, (2, rows // 64), dtype=np.int8)
    parquet.write_table(pyarrow.table({"x": noise[0], "y": noise[1]}), tmp_path / "few.parquet")
    assert data.read(tmp_path / "few.parquet").X.shape == (rows // 64, 1)
    with pytest.raises(ValueError, match=r"cells\.parquet: row group 0: [\d,]+ bytes are .* if you trust it$"):
        compress_parquet(tmp_path / "cells.parquet", "y")


def test_a_text_that_parquet_holds_once_is_read_once(tmp_path):
    pyarrow, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    words = pyarrow.DictionaryArray.from_arrays(np.arange(300, dtype=np.int32) % 2, ["a" * 2**18, "b"])
    path = tmp_path / "text.parquet"
    # as somebody else writes it: nothing says that it was a dictionary
    parquet.write_table(pyarrow.table({"word": words, "y": np.arange(300.0)}), path, store_schema=False)
    frame = frames.read(path, path.read_bytes(), False, lambda count: [-1])[0]
    assert frame[0].map(len).tolist() == [2**18, 1] * 150
    assert frame[0].map(id).nunique() == 2
    assert data.read(path).X.shape == (300, 2)


MIXED = """\
"","when","city","size","on","same","y"
"1",2020-01-01,"Ulm",1.5,TRUE,7,10
"2",2020-01-03,"Bonn",2.5,FALSE,7,20.5
"3",2020-01-02,"Ulm",NA,TRUE,7,30
"4",2020-02-01,"Bonn",4.5,TRUE,7,
"""


def test_everything_is_said(tmp_path):
    path = write(tmp_path / "t.csv", MIXED)
    table = data.read(path, missing="mean")
    assert table.inputs == ("when", "city=Bonn", "city=Ulm", "size", "on")
    assert table.targets == ("y",)
    np.testing.assert_array_equal(table.X, [[18262, 0, 1, 1.5, 1], [18264, 1, 0, 2.5, 0], [18263, 0, 1, 2.0, 1]])
    np.testing.assert_array_equal(table.Y, [10, 20.5, 30])
    assert table.notes == (
        "when: dates, as days since 1970-01-01",
        "column 0: names of rows, left out",
        "same: the same in every row, left out",
        "1 of 4 rows without a target dropped",
        "1 missing values: numbers are the mean of their column, text is no class",
        "city: text, 2 columns of 0 and 1",
    )
    dropped = data.read(path, missing="drop", text="drop")
    np.testing.assert_array_equal(dropped.X, [[18262, 1.5, 1], [18264, 2.5, 0]])
    assert "2 of 4 rows with a missing value dropped" in dropped.notes
    assert "city: text, left out" in dropped.notes


def test_columns_and_targets(tmp_path):
    path = write(tmp_path / "t.csv", MIXED)
    table = data.read(path, columns=["size", "on"], target="when", missing="mean")
    assert table.inputs == ("size", "on")
    np.testing.assert_array_equal(table.Y, [18262, 18264, 18263, 18293])
    assert data.read(path, columns=[6], target="city", missing="drop").Y.tolist() == ["Ulm", "Bonn", "Ulm"]
    several = data.read(write(tmp_path / "s.csv", cut(",")), target=["a", "c"])
    np.testing.assert_array_equal(several.Y, NUMBERS[:, [0, 2]])
    every = data.read(write(tmp_path / "s.csv", cut(",")), targets=False)
    assert every.Y is None
    np.testing.assert_array_equal(every.X, NUMBERS)
    loaded = data.load(tmp_path / "s.csv", autoencode=True, normalise="none")
    np.testing.assert_array_equal(loaded.X, NUMBERS)
    assert loaded.Y is loaded.X


def test_the_last_column_that_can_be_a_target(tmp_path):
    rows = "\n".join(f"{i % 3 + 0.5},{'ab'[i % 2]},note number {i},0" for i in range(12))
    table = data.read(write(tmp_path / "t.csv", f"x,kind,comment,zero\n{rows}\n"))
    assert table.targets == ("kind",)
    assert table.inputs == ("x",)
    assert table.notes[0] == "kind: the target, as the last column that can be one"


def test_names_of_rows(tmp_path):
    """As write.table of R has them: the header is one cell short; and a series that only counts its rows."""
    table = data.read(write(tmp_path / "r.txt", '"size" "mass"\n"cat" 1.5 2\n"dog" 2.5 4\n"emu" 3.5 7\n'))
    np.testing.assert_array_equal(table.X, [[1.5], [2.5], [3.5]])
    assert table.notes == ("row names: names of rows, left out",)
    series = data.read(write(tmp_path / "s.csv", '"","x"\n"1",5.5\n"2",6.5\n"3",9\n'))
    np.testing.assert_array_equal(series.X, [[1], [2], [3]])
    assert series.notes == ("column 0: the number of the row, as the only input",)
    # a column of numbers in order with a name of its own is data
    assert data.read(write(tmp_path / "d.csv", "dose,y\n1,5.5\n2,6.5\n3,9\n")).notes == ()


def test_numbers_with_groups_and_a_class_among_numbers(tmp_path):
    grouped = data.read(write(tmp_path / "g.csv", 'a,y\n"1,234",1\n"12,345.5",2\n"-7",4.5\n'))
    np.testing.assert_array_equal(grouped.X[:, 0], [1234, 12345.5, -7])
    rows = "\n".join(f"{('4', '6', 'rotary')[i % 3]},{i / 2}" for i in range(30))
    assert data.read(write(tmp_path / "c.csv", f"cylinders,y\n{rows}\n")).inputs == ("cylinders=4", "cylinders=6", "cylinders=rotary")


@pytest.mark.parametrize(
    ("content", "options", "message"),
    [
        (MIXED, {}, "line 4, column 3 (size) is empty, one of 2 such rows of 4; fill or drop the line or the column, or pass --missing drop or mean (missing='drop')"),
        (MIXED, {"columns": ["when"]}, "line 5, column 6 (y), the target, is empty; fill or drop the line or the column, or pass --missing drop or mean (missing='drop')"),
        (MIXED, {"text": "refuse", "missing": "mean"}, "line 2, column 2 (city) is 'Ulm', no number; fill or drop the line or the column, or pass --text onehot (text='onehot')"),
        ("a,b\n1,2\nx,3\n4,5\n", {}, "line 3, column 0 (a) is 'x', no number; fill or drop the line or the column"),
        ("a,b\n1,2\n1e999,3\n4,5\n", {}, "line 3, column 0 (a) is inf; fill or drop the line or the column"),
        ("a,b\n1,\n2,\n", {"missing": "mean"}, "every row has a missing value; pass --missing mean (missing='mean'), or fewer --columns"),
        ("a,b\n1,2\n2,3\n3,4\n", {"columns": ["z"]}, "columns is 'z' but the columns are a, b"),
        ("a,b\nx,2\ny,3\nz,4\n", {}, "no column of inputs is left (a: names of rows, left out)"),
        ("x\n1\n2\n", {}, "has one column; at least one of inputs and one of targets are needed"),
        ("a,b\n1,2\n1,2,3\n", {}, "line 3 has 3 cells but the first line has 2"),
        ("a,b,c\n1,2,3\n1,2\n4,5,6\n", {}, "line 3 has 2 cells but the first line has 3"),
    ],
)  # fmt: skip
def test_refusals_are_one_line(tmp_path, content, options, message):
    path = write(tmp_path / "t.csv", content)
    with pytest.raises(ValueError, match=f"^{re.escape(f'{path}: {message}')}$"):
        data.read(path, **options)


def test_without_pandas(tmp_path, monkeypatch):
    monkeypatch.setattr(tables, "installed", lambda: False)
    np.testing.assert_array_equal(data.read(write(tmp_path / "t.csv", cut(","))).X, NUMBERS[:, :2])
    for name, message in (("t.txt", "such tables are read by pandas, which is not installed; pip install 'linalign[cli]'"),):
        with pytest.raises(ImportError, match=re.escape(message)):
            data.read(write(tmp_path / name, cut(",")))
    with pytest.raises(ValueError, match=r"columns is \['a'\], which is for tables, such as a .csv, and for it pandas: pip install"):
        data.read(tmp_path / "t.csv", columns=["a"])


def test_on_the_command_line(tmp_path, capsys):
    path = str(write(tmp_path / "t.csv", MIXED))
    assert cli.main(["check", path]) == 2
    assert "line 4, column 3 (size) is empty, one of 2 such rows of 4" in capsys.readouterr().err
    assert cli.main(["check", path, "--missing", "mean", "--target", "y"]) == 0
    out = capsys.readouterr().out
    assert (
        "t: 3 samples of 5, 1 targets\n           when: dates, as days since 1970-01-01\n           column 0: names of rows, left out\n"
        in out
    )
    assert cli.main(["check", path, "--missing", "drop", "--columns", "when,size", "--autoencode"]) == 0
    assert "t: 3 samples of 2, 2 targets" in capsys.readouterr().out
