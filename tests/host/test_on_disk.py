import numpy as np
import pytest

from edgefer.host import on_disk
from edgefer.host.on_disk import Rows


@pytest.mark.parametrize("in_memory", [1, 1 << 20])
def test_arrays_come_back_as_they_were_and_as_often_as_asked(in_memory, monkeypatch):
    monkeypatch.setattr(on_disk, "_IN_MEMORY", in_memory)
    rng = np.random.default_rng(0)
    arrays = [rng.normal(size=shape).astype(dtype) for shape, dtype in (((1, 3, 2), "f4"), ((), "f8"), ((5,), "i1"))]
    kept = Rows(arrays[:2])
    kept.append(arrays[2][::-1])
    assert len(kept) == 3
    for _ in range(2):
        for found, expected in zip(kept, [*arrays[:2], arrays[2][::-1]], strict=True):
            assert found.dtype == expected.dtype
            np.testing.assert_array_equal(found, expected)
