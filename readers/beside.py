"""Is it the frame or the reader that falls short? Readers get the same tables in files by pyarrow as well."""

import subprocess
from pathlib import Path

from ask import program


def copies(store, jobs):
    """The same jobs on files by pyarrow: their tables, layouts included, were read from the frames."""
    folder = store.beside("copies").folder
    command, where = program("copy_frames")
    paths = "".join(job["path"] + "\n" for of_layout in jobs.values() for job in of_layout)
    subprocess.run([*command, str(folder)], cwd=where, input=paths, text=True, check=True)
    return {layout: [job | {"path": str(folder / Path(job["path"]).name)} for job in of_layout]
            for layout, of_layout in jobs.items()}


def unlike(found, of_copies):
    """Where a frame gave something else than pyarrow's file: reader, layout and case, with what the file gave."""
    return {
        f"{reader} on pyarrow's file": {layout: other(of_cases, of_copies[reader][layout])
                                        for layout, of_cases in layouts.items()}
        for reader, layouts in found.items()
    }


def other(of_frames, of_copies):
    return {case: of_copies[case] for case, of_frame in of_frames.items() if of_copies[case] != of_frame}
