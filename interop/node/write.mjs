// Writes the columns with Node, as programs/write_pyarrow.py does.

import { readFileSync, writeFileSync } from "node:fs";
import {
  Bool, Dictionary, Field, Float64, Int32, Int64, List, Table, TimestampMillisecond, Utf8, tableToIPC, vectorFromArray,
} from "apache-arrow";

const columns = JSON.parse(readFileSync(0, "utf8"));
const folder = process.argv[2];
const big = (values) => values.map((value) => (value === null ? null : BigInt(value)));
const table = new Table({
  number: vectorFromArray(big(columns.number), new Int64()),
  ratio: vectorFromArray(columns.ratio, new Float64()),
  flag: vectorFromArray(columns.flag, new Bool()),
  text: vectorFromArray(columns.text, new Utf8()),
  when: vectorFromArray(columns.when, new TimestampMillisecond()),
  category: vectorFromArray(columns.category, new Dictionary(new Utf8(), new Int32())),
  list: vectorFromArray(columns.list, new List(new Field("item", new Float64()))),
});
writeFileSync(`${folder}/file.arrow`, tableToIPC(table, "file"));
writeFileSync(`${folder}/stream.arrows`, tableToIPC(table, "stream"));
