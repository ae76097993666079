"""Types that only one of the libraries has, or has in another form: what random tables found wrong."""

from __future__ import annotations

import coframe
import polars as pl
import pyarrow as pa


def test_nulls_in_maps_of_polars_are_published() -> None:
    kinds = [pl.Map(pl.String, pl.Null), pl.List(pl.Map(pl.String, pl.Null)), pl.Map(pl.String, pl.List(pl.Null))]
    table = pa.table({"x": pa.array([[("k", None)], None, []], pa.map_(pa.string(), pa.null()))})
    df = pl.from_arrow(table).with_columns(pl.lit(None, dtype=kind).alias(str(kind)) for kind in kinds)
    assert df.schema["x"] == kinds[0]
    found = coframe.publish(df, "t").to_polars()
    assert found.schema == df.schema and found.equals(df)
