"""Converts pyarrow's arrays to the canonical form (testdata/conformance/README.md)."""

import math
from datetime import date, timedelta

import pyarrow as pa

NANOSECONDS = {"s": 10**9, "ms": 10**6, "us": 10**3, "ns": 1}


def canonical(array):
    if isinstance(array, (pa.Array, pa.ChunkedArray)):
        return [of_scalar(scalar) for scalar in array]
    return array


def of_scalar(scalar):
    if not scalar.is_valid:
        return None
    type_ = scalar.type
    if pa.types.is_dictionary(type_) or pa.types.is_union(type_):
        return of_scalar(scalar.value)
    if pa.types.is_run_end_encoded(type_):
        return of_python(scalar.as_py())
    if pa.types.is_map(type_):
        return [[of_scalar(entry["key"]), of_scalar(entry["value"])] for entry in scalar.values]
    if pa.types.is_struct(type_):
        return {name: of_scalar(item) for name, item in scalar.items()}
    if pa.types.is_nested(type_):
        return [of_scalar(item) for item in scalar.values]
    return of_leaf(scalar, type_)


def of_leaf(scalar, type_):
    if pa.types.is_date32(type_):
        return (date(1970, 1, 1) + timedelta(days=scalar.value)).isoformat()
    if pa.types.is_date64(type_):
        return (date(1970, 1, 1) + timedelta(milliseconds=scalar.value)).isoformat()
    if pa.types.is_interval(type_):
        return [str(part) for part in scalar.as_py()]
    # Not `as_py`: Python's types have a resolution of microseconds.
    if pa.types.is_temporal(type_):
        return str(scalar.value * NANOSECONDS[type_.unit])
    return of_python(scalar.as_py())


def of_python(value):
    if value is None or isinstance(value, (bool, str)):
        return value
    if isinstance(value, (bytes, memoryview)):
        return bytes(value).hex()
    return of_float(value) if isinstance(value, float) else str(value)


def of_float(value):
    if math.isnan(value) or math.isinf(value):
        return str(value)
    return "-0" if value == 0 and math.copysign(1, value) < 0 else value
