// The reading program for Arquero in Node, with the protocol of programs/serve.py. Arquero reads Arrow with flechette,
// which is not Arrow's own library. Runs in the directory that has node_modules.
//
// An operation selects rows: it runs on the column and the numbers of its rows, and the answer has the values of the rows
// that are left.

import { readFileSync } from "node:fs";
import { createInterface } from "node:readline";
import { tableFromIPC, Type } from "@uwdata/flechette";
import { escape, fromArrow, op } from "arquero";

const NANOSECONDS = [1_000_000_000n, 1_000_000n, 1_000n, 1n];
const ORDERED = ["bool", "number", "float", "text", "bytes", "date", "time", "dictionary"];
const EXACT = { useBigInt: true, useDecimalInt: true, useMap: true };

const isTime = ({ typeId }) => [Type.Timestamp, Type.Time, Type.Duration].includes(typeId);

function values(column) {
  if (isTime(column.type)) return column.data.flatMap(timesOf);
  return Array.from(column, (value) => canonical(value, column.type));
}

// Timestamps are converted to milliseconds, so the exact numbers are read from the data.
function timesOf(batch) {
  const unit = NANOSECONDS[batch.type.unit];
  const time = (row) => (batch.at(row) === null ? null : String(BigInt(batch.values[row]) * unit));
  return Array.from({ length: batch.length }, (_, row) => time(row));
}

function canonical(value, type) {
  if (value === null || value === undefined) return null;
  switch (type.typeId) {
    case Type.Dictionary: return canonical(value, type.dictionary);
    case Type.Date: return new Date(value).toISOString().slice(0, 10);
    case Type.Decimal: return decimal(value, type.scale);
    case Type.Float: return float(value);
    case Type.Int: return String(value);
    case Type.Interval: return Array.from(value, String);
    case Type.Union: return typeof value === "bigint" ? String(value) : value;
    case Type.Map: return pairs(value, type);
    case Type.Struct: return struct(value, type);
    case Type.RunEndEncoded: return canonical(value, type.children[1].type);
  }
  if (type.children?.length) return Array.from(value, (item) => canonical(item, type.children[0].type));
  return value instanceof Uint8Array ? Buffer.from(value).toString("hex") : value;
}

function pairs(map, type) {
  const [key, item] = type.children[0].type.children;
  return Array.from(map, ([k, v]) => [canonical(k, key.type), canonical(v, item.type)]);
}

function struct(row, type) {
  return Object.fromEntries(type.children.map(({ name, type }) => [name, canonical(row[name], type)]));
}

function float(value) {
  if (Number.isNaN(value)) return "nan";
  if (!Number.isFinite(value)) return value > 0 ? "inf" : "-inf";
  return Object.is(value, -0) ? "-0" : value;
}

function decimal(value, scale) {
  const unscaled = BigInt(value);
  const digits = String(unscaled < 0n ? -unscaled : unscaled).padStart(scale + 1, "0");
  const point = digits.length - scale;
  return `${unscaled < 0n ? "-" : ""}${digits.slice(0, point)}.${digits.slice(point)}`;
}

const OPERATIONS = {
  filter: (table) => table.filter(escape(({ x }) => x !== null)),
  take: (table) => table.orderby(escape(({ row }) => -row)),
  sort: (table) => table.filter(escape(({ x }) => x !== null && !Number.isNaN(x))).orderby("x"),
  group: (table) => table.groupby("x").rollup({ row: op.min("row"), count: op.count() }),
  compare: (table, wanted) => table.filter(escape(({ x }) => op.equal(x, wanted))),
};

function about(arrow, name, { kind, row }) {
  const given = { operations: {} };
  try {
    given.values = values(arrow.getChild(name));
  } catch (error) {
    return { error: reason(error) };
  }
  for (const [operation, run] of Object.entries(OPERATIONS)) {
    if (["sort", "group", "compare"].includes(operation) && !ORDERED.includes(kind)) continue;
    if (operation === "compare" && row === null) continue;
    given.operations[operation] = attempt(operation, run, arrow, name, row, given.values);
  }
  return given;
}

function attempt(operation, run, arrow, name, row, all) {
  try {
    const column = fromArrow(arrow, { columns: name }).rename({ [name]: "x" });
    const table = column.derive({ row: () => op.row_number() - 1 });
    const found = run(table, row === null ? null : table.get("x", row));
    const rows = Array.from(found.array("row"), (row) => all[row]);
    const counts = () => Array.from(found.array("count"));
    return { values: operation === "group" ? rows.map((value, n) => [value, counts()[n]]) : rows };
  } catch (error) {
    return { error: reason(error) };
  }
}

const reason = (error) => `${error.name}: ${error.message.split("\n")[0]}`;

function answer({ path, columns }) {
  try {
    const arrow = tableFromIPC(readFileSync(path), EXACT);
    const entries = Object.entries(columns).map(([name, question]) => [name, about(arrow, name, question)]);
    return { rows: arrow.numRows, columns: Object.fromEntries(entries) };
  } catch (error) {
    return { error: reason(error) };
  }
}

for await (const line of createInterface({ input: process.stdin })) {
  console.log(JSON.stringify(answer(JSON.parse(line))));
}
