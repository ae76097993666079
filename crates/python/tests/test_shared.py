"""What a process keeps in shared memory, and frames that workers return."""

from __future__ import annotations

import concurrent.futures
import gc
import pickle
import shutil
import warnings

import coframe
import pandas as pd
import polars as pl
import pytest
import tasks
from workers import FRESH


def test_shared_lists_what_this_process_keeps_and_frees_it(store: coframe.Store) -> None:
    for left in coframe.shared():
        # By tests that interrupt finalizers.
        left.close()
    one, two = coframe.share(pl.DataFrame({"x": [1]})), coframe.share(pd.DataFrame({"x": range(10_000)}))
    assert [(kept.nbytes, kept.pinned) for kept in coframe.shared()] == [(one.nbytes, False), (two.nbytes, False)]
    pickle.dumps(two)
    assert [kept.pinned for kept in coframe.shared()] == [False, True]
    del one
    gc.collect()
    assert len(coframe.shared()) == 1
    with coframe.partial(len, pl.DataFrame({"x": [1]})), coframe.Session() as session:
        coframe.share(pl.DataFrame({"x": [1]}), store=session).handle
        assert len(coframe.shared()) == 3
    assert len(coframe.shared()) == 1
    assert coframe.close_shared() == 1 and coframe.close_shared() == 0
    assert coframe.shared() == []
    with pytest.raises(coframe.NotFoundError):
        len(coframe.Frame(two.handle))


def test_a_frame_whose_store_was_deleted_is_freed_without_an_error(store: coframe.Store) -> None:
    frame = coframe.share(pl.DataFrame({"x": [1]}))
    pickle.dumps(frame)
    shutil.rmtree(store.path)
    (kept,) = (kept for kept in coframe.shared() if kept.name in frame.handle)
    kept.close()
    assert kept.name not in [kept.name for kept in coframe.shared()]


def test_a_frame_that_stays_without_a_reference_warns() -> None:
    with pytest.warns(ResourceWarning, match="the shared frame `share-.*` .* stays in memory until this process ends"):
        pickle.dumps(coframe.share(pl.DataFrame({"x": [1]})))
        gc.collect()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        frame = coframe.share(pl.DataFrame({"x": [1]}))
        pickle.dumps(frame)
        frame.close()
        with coframe.share(pl.DataFrame({"x": [1]})) as frame:
            pickle.dumps(frame)
        del frame
        gc.collect()
    for kept in coframe.shared():
        kept.close()


def test_frames_that_workers_return_outlive_them(store: coframe.Store) -> None:
    context = FRESH
    with concurrent.futures.ProcessPoolExecutor(2, mp_context=context) as pool:
        frames = list(pool.map(tasks.shared_here, [10, 20], [store.path] * 2))
    assert [frame.to_polars().height for frame in frames] == [10, 20]
    with context.Pool(1) as pool:
        (frame,) = pool.starmap(tasks.shared_here, [(30, store.path)])
    assert frame.to_polars().height == 30


def test_an_error_of_a_frame_that_a_worker_returned_comes_at_its_first_use(store: coframe.Store) -> None:
    session = coframe.Session(store)
    text = pickle.dumps(session.publish(pl.DataFrame({"x": [1]}), "t"))
    session.close()
    gone = pickle.loads(text)
    with pytest.raises(coframe.NotFoundError, match="it was in a session"):
        len(gone)
