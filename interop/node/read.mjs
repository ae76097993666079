// The reading program for Node, with the protocol of programs/serve.py. Runs in the directory that has node_modules.
//
// The library has no kernels, so the operations tried are a slice and a search.

import { readFileSync } from "node:fs";
import { createInterface } from "node:readline";
import { DataType, tableFromIPC } from "apache-arrow";

const NANOSECONDS = [1_000_000_000n, 1_000_000n, 1_000n, 1n];
const ORDERED = ["bool", "number", "float", "text", "bytes", "date", "time", "dictionary"];

function values(vector) {
  if (isTime(vector.type)) return vector.data.flatMap(timesOf);
  return Array.from({ length: vector.length }, (_, row) => canonical(vector.get(row), vector.type));
}

const isTime = (type) => DataType.isTimestamp(type) || DataType.isTime(type) || DataType.isDuration(type);

// `get` converts timestamps to milliseconds, so the exact numbers are read from the data.
function timesOf(data) {
  const unit = NANOSECONDS[data.type.unit];
  const time = (row) => (data.getValid(row) ? String(BigInt(data.values[row]) * unit) : null);
  return Array.from({ length: data.length }, (_, row) => time(row));
}

function canonical(value, type) {
  if (value === null || value === undefined) return null;
  if (DataType.isDictionary(type)) return canonical(value, type.dictionary);
  if (DataType.isDate(type)) return new Date(Number(value)).toISOString().slice(0, 10);
  if (DataType.isDecimal(type)) return decimal(value, type);
  if (DataType.isFloat(type)) return float(value);
  if (DataType.isInt(type)) return String(value);
  if (DataType.isInterval(type)) return interval(value);
  if (DataType.isUnion(type)) return typeof value === "bigint" ? String(value) : value;
  if (DataType.isMap(type)) return pairs(value, type);
  if (DataType.isStruct(type)) return struct(value, type);
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

// The value has months, days and the two halves of the nanoseconds.
function interval([months, days, low, high]) {
  return [months, days, (BigInt(high) << 32n) + BigInt(low >>> 0)].map(String);
}

// Decimals are 32-bit words, lowest first.
function decimal(words, type) {
  const bits = 32 * words.length;
  const raw = Array.from(words).reduce((sum, word, n) => sum + (BigInt(word) << BigInt(32 * n)), 0n);
  const unscaled = BigInt.asIntN(bits, raw);
  const digits = String(unscaled < 0n ? -unscaled : unscaled).padStart(type.scale + 1, "0");
  const point = digits.length - type.scale;
  return `${unscaled < 0n ? "-" : ""}${digits.slice(0, point)}.${digits.slice(point)}`;
}

const OPERATIONS = {
  slice: (vector) => values(vector.slice(1)),
  search: (vector, row) => vector.indexOf(vector.get(row)),
};

function about(table, name, { kind, row }) {
  const given = { operations: {} };
  try {
    given.values = values(table.getChild(name));
  } catch (error) {
    return { error: reason(error) };
  }
  for (const [operation, run] of Object.entries(OPERATIONS)) {
    if (operation === "search" && (row === null || !ORDERED.includes(kind))) continue;
    given.operations[operation] = attempt(() => run(table.getChild(name), row));
  }
  return given;
}

function attempt(run) {
  try {
    return { values: run() };
  } catch (error) {
    return { error: reason(error) };
  }
}

const reason = (error) => `${error.name}: ${error.message.split("\n")[0]}`;

function answer({ path, columns }) {
  try {
    const table = tableFromIPC(readFileSync(path));
    const entries = Object.entries(columns).map(([name, question]) => [name, about(table, name, question)]);
    return { rows: table.numRows, columns: Object.fromEntries(entries) };
  } catch (error) {
    return { error: reason(error) };
  }
}

for await (const line of createInterface({ input: process.stdin })) {
  console.log(JSON.stringify(answer(JSON.parse(line))));
}
