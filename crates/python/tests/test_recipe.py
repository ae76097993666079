"""What is noted of a DataFrame of pandas is a pickle: it is read from segments of this user and machine alone."""

from __future__ import annotations

import base64
import os
import pathlib
import pickle
import shutil

import coframe
import pandas as pd
import pyarrow as pa
import pytest
from coframe._recipe import RECIPE

DF = pd.DataFrame({"a": pd.period_range("2020", periods=2, freq="D")}, index=["x", "y"])


class Harm:
    """Makes a file when it is unpickled."""

    def __init__(self, path: pathlib.Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, ...]:
        return pathlib.Path.touch, (self.path,)


def _harmful(store: coframe.Store, mark: pathlib.Path) -> coframe.Frame:
    text = base64.b85encode(pickle.dumps(Harm(mark))).decode()
    metadata = [("coframe.python", "pandas"), (RECIPE, text)]
    table = pa.Table.from_pandas(DF)
    return coframe.Frame._of(store._open().publish("harm", table, layout="keep", keep=0, metadata=metadata, mode=None, batch_rows=None))


def test_a_recipe_of_a_store_that_was_copied_is_not_unpickled(store: coframe.Store, tmp_path: pathlib.Path) -> None:
    mark = tmp_path / "mark"
    frame = _harmful(store, mark)
    with pytest.raises(coframe.UnsupportedError, match="cannot read how the DataFrame was made|another version"):
        frame.to_table()
    assert mark.exists(), "the test does no harm"
    mark.unlink()
    copied = os.path.join(os.path.dirname(store.path), "copied")
    shutil.copytree(store.path, copied, symlinks=True, copy_function=shutil.copy2)
    foreign = coframe.open("harm", store=copied)
    assert foreign.to_table().index.tolist() == ["x", "y"] and len(foreign.to_pandas()) == 2
    assert len(coframe.publish(foreign, "again").to_table()) == 2 and not mark.exists()


def test_a_recipe_of_a_mirror_is_not_unpickled(store: coframe.Store, tmp_path: pathlib.Path) -> None:
    mark = tmp_path / "mark"
    _harmful(store, mark)
    # As Store.mirror of Rust leaves a segment that came from another store (FORMAT.md, rule I2-mirror).
    (file,) = pathlib.Path(store.path).glob("harm@*")
    file.chmod(0o1400)
    mirror = store.open("harm")
    assert mirror.to_table().index.tolist() == ["x", "y"] and len(mirror.to_pandas()) == 2
    assert len(store.publish(mirror, "again").to_table()) == 2 and not mark.exists()


def test_a_recipe_of_an_imported_file_is_not_unpickled(store: coframe.Store, tmp_path: pathlib.Path) -> None:
    mark = tmp_path / "mark"
    _harmful(store, mark)
    (file,) = pathlib.Path(store.path).glob("harm@*")
    found = store.import_file(shutil.copy(file, tmp_path / "harm.arrow"), "imported")
    assert found.to_pandas(dtypes="numpy").index.tolist() == ["x", "y"] and not mark.exists()


def test_metadata_of_the_package_is_neither_set_nor_seen_by_users(store: coframe.Store) -> None:
    assert coframe.publish(DF, "t", metadata={"source": "here"}).metadata == {"source": "here"}
    with pytest.raises(coframe.InvalidError, match="keys that start with `coframe.` are reserved for the package"):
        coframe.publish(DF, "t", metadata={RECIPE: "x"})


def test_opening_does_not_depend_on_how_many_categories_a_frame_has() -> None:
    few, many = (coframe.share(pd.DataFrame({"c": pd.Categorical([f"category {n}" for n in range(rows)])})) for rows in (300, 30_000))
    lengths = [len(frame._open().metadata[RECIPE]) for frame in (few, many)]
    assert abs(lengths[0] - lengths[1]) < 20
    assert many.to_table()["c"].cat.categories.size == 30_000
    with pytest.raises(coframe.UnsupportedError, match="column `c` has no rows here, and more than 256 categories"):
        many[5:5].to_table()
