"""Reads paths of frames from standard input, a line each, and copies them with pyarrow into the folder in `argv`."""

import sys
from pathlib import Path

import pyarrow as pa


def copy(path, folder):
    frame = pa.ipc.open_file(pa.memory_map(str(path)))
    with pa.ipc.new_file(folder / path.name, frame.schema) as writer:
        for n in range(frame.num_record_batches):
            writer.write_batch(frame.get_batch(n))


for line in sys.stdin:
    copy(Path(line.strip()), Path(sys.argv[1]))
