"""Judges a program's answer: does it open the frame, are the values equal, are its computations right?"""

import re
from collections import Counter
from datetime import date, timedelta

# Longer messages only repeat themselves.
LONGEST = 130


def judge(case, answer):
    """Returns `ok`, {"opens": why}, {"equal": why}, or {"as": other type, "cannot": {operation: why}}."""
    if "error" in answer:
        return {"opens": short(answer["error"])}
    if answer["rows"] != case["rows"]:
        return {"equal": f"{answer['rows']} rows instead of {case['rows']}"}
    found = {"as": set(), "cannot": {}}
    for name, column in case["columns"].items():
        wrong = judge_column(name, column, answer["columns"][name], found)
        if wrong:
            return wrong
    return simplest(found)


def simplest(found):
    """The entries of `found` that are not empty, or `ok`."""
    verdict = {}
    if found["as"]:
        verdict["as"] = ", ".join(sorted(found["as"]))
    if found["cannot"]:
        verdict["cannot"] = found["cannot"]
    return verdict or "ok"


def judge_column(name, column, answer, found):
    if "error" in answer:
        return {"opens": short(answer["error"])}
    expected, other_type = closest(column, answer["values"])
    if expected is None:
        return {"equal": difference(column["values"], answer["values"])}
    if other_type:
        found["as"].add(other_type)
    for operation, given in answer["operations"].items():
        why = wrong_result(operation, dict(column, values=expected), given)
        if why:
            found["cannot"][operation if name == "x" else f"{operation} of {name}"] = why
    return None


def closest(column, found):
    """The expected values in the type that the reader returned, and the name of that type if it differs."""
    expected = column["values"]
    if same(expected, found):
        return expected, None
    for other_type, (kind, translate) in OTHER_TYPES.items():
        if column["kind"] == kind:
            translated = [None if value is None else translate(value) for value in expected]
            if same(translated, found):
                return translated, other_type
    return None, None


def days(iso):
    return (date.fromisoformat(iso) - date(1970, 1, 1)) // timedelta(days=1)


OTHER_TYPES = {
    "as a timestamp": ("date", lambda iso: str(days(iso) * 86_400 * 10**9)),
    "as an interval": ("time", lambda text: ["0", "0", text]),
}


def same(expected, found):
    """Compares types too: in Python, `True == 1` and `1 == 1.0`."""
    if isinstance(expected, list) and isinstance(found, list):
        return len(expected) == len(found) and all(map(same, expected, found))
    if isinstance(expected, dict) and isinstance(found, dict):
        return expected.keys() == found.keys() and all(same(expected[key], found[key]) for key in expected)
    numbers = (int, float)
    if type(expected) in numbers and type(found) in numbers:
        return expected == found
    return type(expected) is type(found) and expected == found


def wrong_result(operation, column, given):
    if "error" in given:
        return short(given["error"])
    values, found = column["values"], given["values"]
    row = row_to_find(values)
    if operation == "sort":
        expected, found = [values[n] for n in column["order"]], [value for value in found if value not in (None, "nan")]
    elif operation == "group":
        expected, found = counts([value, 1] for value in values), counts(found)
    else:
        expected = {
            "filter": lambda: [value for value in values if value is not None],
            "take": lambda: values[::-1],
            "compare": lambda: [value for value in values if value == values[row]],
            "cast": lambda: values,
            "slice": lambda: values[1:],
            "search": lambda: row,
        }[operation]()
    if isinstance(expected, list):
        return None if same(expected, found) else "wrong: " + difference(expected, found)
    if expected == found:
        return None
    if operation == "group":
        # A reader may return its groups in another order each time.
        expected, found = sorted(expected.items()), sorted(found.items())
    return f"wrong: {found} instead of {expected}"


def row_to_find(values):
    return next((n for n, value in enumerate(values) if value is not None), None)


def counts(pairs):
    total = Counter()
    for value, count in pairs:
        total[repr(value)] += count
    return total


def difference(expected, found):
    if not isinstance(found, list):
        return f"{found!r} instead of {expected!r}"[:LONGEST]
    if len(expected) != len(found):
        return f"{len(found)} values instead of {len(expected)}"
    pairs = zip(expected, found, strict=True)
    wanted, got = next((pair for pair in pairs if not same(*pair)), (expected, found))
    return f"{got!r} instead of {wanted!r}"[:LONGEST]


def short(reason):
    """The reason on one line, without addresses, paths and ids that change from run to run."""
    reason = reason.replace("called `Result::unwrap()` on an `Err` value: ", "")
    reason = re.sub(r"/\S*/", "", reason)
    reason = re.sub(r"0x[0-9a-f]+", "ADDRESS", reason)
    reason = re.sub(r"Id\(\d+\)", "Id", reason)
    reason = re.sub(r"found value -?\d+", "found value N", reason)
    reason = re.sub(r"\btask \d+", "task N", reason)
    return reason if len(reason) <= LONGEST else reason[:LONGEST].rsplit(" ", 1)[0] + " ..."
