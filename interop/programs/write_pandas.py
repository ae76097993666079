"""Writes the columns with pandas, as write_pyarrow.py does. By default pandas compresses."""

import json
import sys
from pathlib import Path

import pandas as pd


def frame(columns):
    df = pd.DataFrame({
        "number": pd.array(columns["number"], "Int64"),
        "ratio": pd.array(columns["ratio"], "Float64"),
        "flag": pd.array(columns["flag"], "boolean"),
        "text": pd.array(columns["text"], "str"),
        "when": pd.to_datetime(pd.array(columns["when"], "Int64"), unit="ms"),
        "category": pd.Categorical(columns["category"]),
    })
    df["list"] = columns["list"]
    return df


def main(folder):
    df = frame(json.load(sys.stdin))
    df.to_feather(folder / "feather.feather", compression="uncompressed")
    df.to_feather(folder / "compressed.feather")


main(Path(sys.argv[1]))
