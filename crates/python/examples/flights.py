"""Real flights, shared once: a notebook of cells (VS Code, Jupytext and PyCharm open it as one), and a script.

336 776 flights that left New York City in 2013. Needs polars; run it from anywhere in the checkout.
"""

# %% One copy in shared memory, visible to every process of this user
import concurrent.futures
import multiprocessing
import pathlib

import coframe
import polars as pl

DATA = pathlib.Path(__file__).parents[3] / "testdata" / "flights.parquet"

# %% What workers run. They get a frame, which is a handle of about 150 bytes until they use it


def late(part: coframe.Frame) -> pl.DataFrame:
    """Flights and delays of each carrier in a part of the rows."""
    return part.to_polars().group_by("carrier").agg(pl.len().alias("flights"), pl.col("dep_delay").sum())


@coframe.accepts_frames
def longest(flights: pl.DataFrame, origin: str) -> tuple[str, int]:
    """Written for a DataFrame, and called with one."""
    return origin, int(flights.filter(pl.col("origin") == origin)["distance"].max())


def main() -> None:
    # %% A session: its frames go with this process
    with coframe.Session() as session:
        flights = session.publish(pl.read_parquet(DATA), "flights")
        print(flights)  # a notebook shows the first rows
        print(flights.explain())  # what is shared, what would be copied and why

        # %% Columns, rows, arrays: nothing is copied
        delays = flights["distance"].to_numpy()
        print(f"{delays.mean():.0f} miles on average; writeable: {delays.flags.writeable}")
        print(flights[["carrier", "dep_delay"]][:3].to_polars())

        # %% The same rows in many processes
        context = multiprocessing.get_context("spawn")
        with concurrent.futures.ProcessPoolExecutor(2, mp_context=context) as pool:
            parts = pl.concat(pool.map(late, flights.split(8)))
            print(parts.group_by("carrier").sum().sort("flights", descending=True).head(5))
            print(dict(pool.map(longest, [flights] * 3, ["JFK", "LGA", "EWR"])))


# %%
if __name__ == "__main__":
    main()
