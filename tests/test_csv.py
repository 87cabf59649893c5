"""Tables in text files: read whole, or refused with the line and the column."""

import csv

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pybp.datasets import csv_columns, load_csv


@pytest.fixture
def table(tmp_path):
    """Writes a file and gives its path."""

    def write(text, name="table.csv"):
        path = tmp_path / name
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return path

    return write


NAMED = "length,width,kind\n5.1,3.5,setosa\n7.0,3.2,versicolor\n6.3,3.3,setosa\n"
PLAIN = "5.1,3.5,setosa\n7.0,3.2,versicolor\n6.3,3.3,setosa\n"


# -- what is read ----------------------------------------------------------------------------------


@pytest.mark.parametrize("target", ["kind", 3, "3", -1])
def test_names_and_numbers_of_columns(table, target):
    found = load_csv(table(NAMED), target)
    np.testing.assert_array_equal(found.x, [[5.1, 3.5], [7.0, 3.2], [6.3, 3.3]])
    assert found.y.tolist() == [0, 1, 0]
    assert found.feature_names == ["length", "width"]
    assert found.class_names == ["setosa", "versicolor"]
    assert (found.target_name, found.target_column) == ("kind", 3)
    assert found.task == "classification"


def test_without_header(table):
    found = load_csv(table(PLAIN), -1)
    assert found.x.shape == (3, 2)
    assert found.feature_names == ["column 1", "column 2"]
    assert found.target_name == "column 3"


def test_without_target(table):
    found = load_csv(table("1,2\n3,4\n"))
    np.testing.assert_array_equal(found.x, [[1, 2], [3, 4]])
    assert found.y is None
    assert found.target_name is None


def test_target_in_the_midst_and_columns_dropped(table):
    path = table("id,a,y,b\nx1,1,0.5,2\nx2,3,0.25,4\nx3,5,1.5,6\n")
    found = load_csv(path, "y", drop=["id"])
    np.testing.assert_array_equal(found.x, [[1, 2], [3, 4], [5, 6]])
    assert found.y.tolist() == [0.5, 0.25, 1.5]
    assert found.feature_names == ["a", "b"]
    assert found.task == "regression"


def test_features_in_the_order_asked_for(table):
    found = load_csv(table("a,b,c\n1,2,3\n"), features=["c", 1])
    assert found.x.tolist() == [[3, 1]]
    assert found.feature_names == ["c", "a"]


@pytest.mark.parametrize(
    "text",
    [
        "a;b\n1;2\n3;4\n",
        "a\tb\n1\t2\n3\t4\n",
        "a b\n  1   2 \n3 4\n",
        "a,b\r\n1,2\r\n3,4\r\n",
        "\ufeffa,b\n1,2\n3,4",
        "\n\na,b\n\n1,2\n\n3,4\n\n",
        '"a","b"\n"1","2"\n 3 , 4 \n',
        '"a";"b"\n1;2\n3;4\n',
    ],
)
def test_delimiters_quotes_and_ends_of_lines(table, text):
    found = load_csv(table(text))
    assert found.feature_names == ["a", "b"]
    assert found.x.tolist() == [[1, 2], [3, 4]]


def test_a_delimiter_inside_quotes_is_none(table):
    found = load_csv(table('"a;b","c\td"\n1,2\n'))
    assert found.feature_names == ["a;b", "c\td"]


def test_header_is_found_out_or_told(table):
    numbers = table("1,2,3\n4,5,6\n", "numbers.csv")
    assert load_csv(numbers).x.shape == (2, 3)
    assert load_csv(numbers, header=True).feature_names == ["1", "2", "3"]
    partly = table("x,2010\n1,2\n3,4\n", "partly.csv")
    assert csv_columns(partly) == (["column 1", "column 2"], False)
    assert csv_columns(partly, header=True) == (["x", "2010"], True)
    assert load_csv(partly, "x").feature_names == ["2010"], "a name asked for is a name"


def test_nameless_columns_get_a_number(table):
    assert load_csv(table(",a\n0,1\n1,2\n")).feature_names == ["column 1", "a"]


# -- classes or values -----------------------------------------------------------------------------


def column(table, values, **options):
    return load_csv(table("x,y\n" + "".join(f"{i},{v}\n" for i, v in enumerate(values))), **options)


@pytest.mark.parametrize(
    ("values", "names"),
    [
        (["b", "a", "b", "c"] * 2, ["a", "b", "c"]),
        ([2, 1, 3] * 10, ["1", "2", "3"]),
        (["2.0", "10", "-1"] * 10, ["-1", "2", "10"]),
        ([0, 1, 1, 0], ["0", "1"]),
        (["1", "2", "two"] * 3, ["1", "2", "two"]),
        (list(range(20)) * 5, [str(i) for i in range(20)]),
    ],
)
def test_classes(table, values, names):
    found = column(table, values, target="y")
    assert found.class_names == names
    assert found.y.tolist() == [names.index(str(v).removesuffix(".0")) for v in values]


@pytest.mark.parametrize(
    "values",
    [
        [0.5, 1.0, 0.5, 1.0] * 5,
        list(range(21)) * 5,
        list(range(10)),
        [1e9, 2e9, 3e9, 4e9],
    ],
)
def test_values(table, values):
    found = column(table, values, target="y")
    assert found.task == "regression"
    np.testing.assert_array_equal(found.y, values)


def test_the_task_can_be_told(table):
    assert column(table, [0, 1] * 5, target="y", task="regression").class_names is None
    found = column(table, [0.5, 1.5] * 5, target="y", task="classification")
    assert found.class_names == ["0.5", "1.5"]
    with pytest.raises(ValueError, match="classification"):
        column(table, [0, 1] * 5, target="y", task="clustering")


# -- what is refused -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "options", "words"),
    [
        ("", {}, ["empty"]),
        ("\n \n", {}, ["empty"]),
        ("a,b\n", {}, ["no rows", "below the names"]),
        ("a,b\n1,2\n3,oops\n", {}, ["line 3", "column 2 ('b')", "'oops'", "not a number"]),
        ("1,2\n3,x\n", {}, ["line 2", "column 2", "'x'"]),
        ("x,2\n3,4\n", {}, ["line 1", "column 1", "'x'", "header"]),
        ("a,b\n1,2\n3,\n", {}, ["line 3", "column 2 ('b')", "missing"]),
        ("a,b\n1,2\n?,3\n", {}, ["line 3", "column 1 ('a')", "missing"]),
        ("a,b\n1,2\n3,NaN\n", {}, ["line 3", "column 2 ('b')", "missing"]),
        ("a,b\n1,2\n3,inf\n", {}, ["line 3", "column 2 ('b')", "inf", "finite"]),
        ("a,b\n1,2\n\n3\n", {}, ["line 4", "1 cells", "has 2"]),
        ("a,b\n1,2,3\n", {}, ["line 2", "3 cells"]),
        (NAMED, {"target": "knid"}, ["'knid'", "did you mean 'kind'"]),
        (NAMED, {"target": "zzz"}, ["'zzz'", "'length', 'width', 'kind'"]),
        (NAMED, {"target": 0}, ["no column 0", "from 1 to 3"]),
        (NAMED, {"target": 4}, ["no column 4"]),
        (NAMED, {"target": -4}, ["no column -4"]),
        (NAMED, {"target": "kind", "drop": ["lenght"]}, ["did you mean 'length'"]),
        (NAMED, {"target": "kind", "drop": [1, 2]}, ["no column is left"]),
        ("a,a\n1,2\n", {"target": "a"}, ["several columns", "'a'", "number"]),
        ("a,y\n1,u\n2,\n", {"target": "y"}, ["'y'", "line 3", "missing"]),
        ("a,y\n1,u\n2,u\n", {"target": "y"}, ["'u'", "nothing to learn"]),
        ("a,y\n1,u\n2,v\n3,w\n4,x\n", {"target": "y"}, ["4 different", "not classes"]),
        ("a,y\n1,2\n2,u\n", {"target": "y", "task": "regression"}, ["line 3", "'u'"]),
        ("a,y\n1,2.5\n2,inf\n", {"target": "y"}, ["line 3", "not finite"]),
        ("a,y\n1,\xff\n".encode("latin-1"), {}, ["UTF-8"]),
        (b"a,b\n1,2\x00\n", {}, ["line 2"]),
        ("a," + "x" * 200_000, {}, ["not a table"]),
    ],
)
def test_refused(table, still_open, text, options, words):
    path = table(text)
    with pytest.raises(ValueError) as caught:
        load_csv(path, **options)
    assert not still_open()
    for word in [str(path), *words]:
        assert word in str(caught.value)


def test_no_file_and_no_folder(tmp_path):
    with pytest.raises(FileNotFoundError, match="nowhere"):
        load_csv(tmp_path / "nowhere.csv")
    with pytest.raises(OSError, match=tmp_path.name):
        load_csv(tmp_path)


# -- anything --------------------------------------------------------------------------------------

NUMBERS = st.lists(
    st.lists(
        st.floats(allow_nan=False, allow_infinity=False, allow_subnormal=False),
        min_size=2,
        max_size=2,
    ),
    min_size=1,
    max_size=8,
)


@given(NUMBERS, st.sampled_from(",;\t"), st.booleans())
def test_what_csv_writes_is_read_to_the_bit(tmp_path_factory, rows, delimiter, named):
    path = tmp_path_factory.mktemp("csv") / "t.csv"
    with path.open("w", newline="") as stream:
        writer = csv.writer(stream, delimiter=delimiter)
        writer.writerows([["a", "b"], *rows] if named else rows)
    np.testing.assert_array_equal(load_csv(path).x, rows)


@given(st.binary(max_size=200))
def test_any_bytes_are_a_table_or_an_error(tmp_path_factory, content):
    path = tmp_path_factory.mktemp("csv") / "t.csv"
    path.write_bytes(content)
    try:
        found = load_csv(path)
    except ValueError as error:
        assert str(path) in str(error)
    else:
        assert found.x.shape == (len(found.x), len(found.feature_names))
        assert np.isfinite(found.x).all()


# -- real tables -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "target", "rows", "features", "counts"),
    [
        ("iris/iris.csv", -1, 150, 4, [50, 50, 50]),
        ("wheat-seeds/wheat-seeds.csv", 8, 210, 7, [70, 70, 70]),
        ("sonar/sonar.csv", 61, 208, 60, [111, 97]),
        ("boston-housing/housing.csv", 14, 506, 13, None),
    ],
)
def test_real_tables(data_root, name, target, rows, features, counts):
    path = data_root / name
    if not path.is_file():
        pytest.skip(f"no real data: {path} does not exist")
    found = load_csv(path, target)
    assert found.x.shape == (rows, features)
    if counts is None:
        assert found.task == "regression"
        assert found.y.mean() == pytest.approx(22.5328, abs=1e-4)
    else:
        assert np.bincount(found.y).tolist() == counts


def test_real_gaps_and_texts_are_named(data_root):
    path = data_root / "california-housing" / "housing.csv"
    if not path.is_file():
        pytest.skip(f"no real data: {path} does not exist")
    with pytest.raises(ValueError, match=r"line 2, column 10 \('ocean_proximity'\): 'NEAR BAY'"):
        load_csv(path, "median_house_value")
    with pytest.raises(ValueError, match=r"line 292, column 5 \('total_bedrooms'\).*missing"):
        load_csv(path, "median_house_value", drop=["ocean_proximity"])
    found = load_csv(path, "median_house_value", drop=["ocean_proximity", "total_bedrooms"])
    assert found.x.shape == (20640, 7)
