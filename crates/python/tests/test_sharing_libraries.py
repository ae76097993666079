"""Libraries that pickle in their own way, under ``coframe.sharing()``."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
from multiprocessing.reduction import ForkingPickler

import cloudpickle
import coframe
import numpy as np
import pandas as pd
import pytest
import sharing_tasks as tasks
from test_sharing import frames


def test_joblib_shares_arguments_and_results(store: coframe.Store) -> None:
    import joblib
    from joblib.externals.loky import get_reusable_executor

    df = tasks.table()
    expected = float(df["c0"].sum())
    try:
        with coframe.sharing():
            call = joblib.delayed(tasks.total)
            found = joblib.Parallel(n_jobs=2)(call(df, item) for item in range(6))
            assert found == [(expected + item, True) for item in range(6)]
            assert len(frames(store)) == 1
            results = joblib.Parallel(n_jobs=2)(joblib.delayed(tasks.table)(rows) for rows in (200_000, 200_001))
            assert tasks.is_mapped()
            assert len(frames(store)) == 1
            for rows, one in zip((200_000, 200_001), results, strict=True):
                pd.testing.assert_frame_equal(one, tasks.table(rows))
        # The same workers go on, and pickle.
        assert joblib.Parallel(n_jobs=2)(joblib.delayed(tasks.first_value)(df) for _ in range(2)) == [0.0, 0.0]
    finally:
        get_reusable_executor().shutdown(wait=True)


def test_joblibs_backend_multiprocessing_shares_arguments_and_results(store: coframe.Store) -> None:
    import joblib
    from joblib.pool import CustomizablePickler

    df = tasks.table()
    expected = float(df["c0"].sum())
    with coframe.sharing(), joblib.Parallel(n_jobs=2, backend="multiprocessing") as pool:
        assert pool(joblib.delayed(tasks.total)(df, item) for item in range(4)) == [(expected + item, True) for item in range(4)]
        assert len(frames(store)) == 1
        results = pool(joblib.delayed(tasks.table)(rows) for rows in (200_000, 200_001))
        assert tasks.is_mapped()
        assert len(frames(store)) == 1
        for rows, one in zip((200_000, 200_001), results, strict=True):
            pd.testing.assert_frame_equal(one, tasks.table(rows))
        # joblib's own maps of arrays stay as they are.
        array = np.arange(1 << 20)
        assert pool([joblib.delayed(tasks.kind)(array)]) == ["memmap"]
        assert len(frames(store)) == 1
    assert joblib.pool.CustomizablePickler is CustomizablePickler


def test_cloudpickle_shares_only_when_asked(store: coframe.Store) -> None:
    df = tasks.table()
    with coframe.sharing():
        assert pickle.loads(cloudpickle.dumps(lambda: df))().equals(df)
        assert not frames(store)
    with coframe.sharing(cloudpickle=True):
        text = cloudpickle.dumps(lambda: df)
        assert len(text) < 5000
        assert pickle.loads(text)().equals(df)
        assert pickle.loads(text)().equals(df), "read twice"
        assert len(frames(store)) == 1
    assert len(cloudpickle.dumps(lambda: df)) > 1_000_000


def test_dask_shares_arguments(store: coframe.Store) -> None:
    distributed = pytest.importorskip("distributed")
    df = tasks.table()
    expected = float(df["c0"].sum())
    with (
        coframe.sharing(),
        distributed.LocalCluster(n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None) as cluster,
        distributed.Client(cluster) as client,
    ):
        found = client.gather([client.submit(tasks.total, df, item, pure=False) for item in range(4)])
        assert found == [(expected + item, True) for item in range(4)]
        assert len(frames(store)) == 1
        result = client.submit(tasks.table, 200_001).result()
        pd.testing.assert_frame_equal(result, tasks.table(200_001))
    assert not frames(store)


def test_dask_pickles_as_before_at_the_end(store: coframe.Store) -> None:
    module = pytest.importorskip("distributed.protocol.pickle")
    df = tasks.table()
    with coframe.sharing():
        assert len(module.dumps(df)) < 1000
    assert len(module.dumps(df)) > 1_000_000
    assert module.pickle is pickle


RAY = """
import coframe, ray
import sharing_tasks as tasks

if __name__ == "__main__":
    df = tasks.table()
    ray.init(num_cpus=1, include_dashboard=False, log_to_driver=False)
    with coframe.sharing():
        total = ray.remote(tasks.total)
        expected = float(df["c0"].sum())
        assert ray.get([total.remote(df, item) for item in range(3)]) == [(expected + item, True) for item in range(3)]
        reference = ray.put(df)
        assert ray.get(total.remote(reference)) == (expected, True)
        ray.get(ray.remote(tasks.table).remote(200_001))
    ray.shutdown()
    print("done")
"""


@pytest.mark.skipif(not os.environ.get("COFRAME_DEEP"), reason="Ray takes a minute to start; COFRAME_DEEP=1 runs it")
def test_ray_shares_arguments(tmp_path: os.PathLike[str]) -> None:
    pytest.importorskip("ray")
    script = os.path.join(tmp_path, "program.py")
    with open(script, "w") as file:
        file.write(RAY)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([os.path.dirname(__file__), *sys.path])}
    found = subprocess.run([sys.executable, script], capture_output=True, text=True, timeout=180, env=environment)
    assert found.stdout.endswith("done\n"), found.stderr


def test_a_library_that_is_imported_later_shares_too() -> None:
    code = "import coframe, sys, numpy as np\nwith coframe.sharing(1000):\n    import joblib.externals.loky.backend.reduction as r\n"
    code += "    assert len(r.dumps(np.zeros(100_000))) < 1000\nassert len(r.dumps(np.zeros(100_000))) > 100_000"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)


def test_two_kinds_of_picklers_share_one_copy(store: coframe.Store) -> None:
    import joblib.externals.loky.backend.reduction as loky

    array = np.zeros(1 << 20)
    with coframe.sharing():
        ForkingPickler.dumps(array)
        loky.dumps(array)
        assert len(frames(store)) == 1
