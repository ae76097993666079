"""Separates faults of frames from faults of readers, which also open the same tables in files written by pyarrow."""

import subprocess
from pathlib import Path

from runner import program


def copies(store, jobs):
    """The same jobs on files that pyarrow wrote from the frames, with the same layouts."""
    folder = store.another("copies").folder
    command, where = program("copy_frames")
    paths = "".join(job["path"] + "\n" for of_layout in jobs.values() for job in of_layout)
    subprocess.run([*command, str(folder)], cwd=where, input=paths, text=True, check=True)
    return {layout: [job | {"path": str(folder / Path(job["path"]).name)} for job in of_layout]
            for layout, of_layout in jobs.items()}


def unlike(found, of_copies):
    """The verdicts on pyarrow's files that differ from those on the frames, by reader, layout and case."""
    return {
        f"{reader} on pyarrow's file": {layout: other(of_cases, of_copies[reader][layout])
                                        for layout, of_cases in layouts.items()}
        for reader, layouts in found.items()
    }


def other(of_frames, of_copies):
    return {case: of_copies[case] for case, of_frame in of_frames.items() if of_copies[case] != of_frame}
