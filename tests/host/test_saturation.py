import os
import subprocess
import sys

import numpy as np
import onnx
import pytest
from onnx.reference import ReferenceEvaluator

from edgefer.host.saturation import probe, saturates, sums_saturate
from tests.host.without_vnni import hidden

TRIED = """
import numpy as np
import onnxruntime
from edgefer.host.saturation import sums_saturate
from tests.runtime.test_runners import ANSWER, FEEDS, saturating

found = onnxruntime.InferenceSession(saturating().SerializeToString()).run(None, FEEDS)[0]
print(sums_saturate(), np.abs(found - ANSWER).max() > 1)
"""


def test_the_probe_returns_what_it_is_given_where_sums_are_exact():
    model = onnx.load_from_string(probe())
    onnx.checker.check_model(model)
    model.opset_import[0].version = 19  # which the reference knows, and which means the same
    reference = ReferenceEvaluator(model)
    feeds = {
        source.name: np.full([side.dim_value for side in source.type.tensor_type.shape.dim], 255, np.uint8)
        for source in model.graph.input
    }
    found = reference.run(None, feeds)
    assert len(found) == 4
    assert all((values == 255).all() for values in found)


def test_one_sum_that_saturates_is_enough():
    exact, wrong = np.full((2, 3), 255, np.uint8), np.full((2, 3), 255, np.uint8)
    wrong[1, 2] = 128
    assert not saturates(lambda model: [exact, exact])
    assert saturates(lambda model: [exact, wrong])


def test_where_nothing_can_be_told_sums_may_saturate():
    def broken(model):
        raise RuntimeError("no such operator")

    assert saturates(broken)


def test_it_is_found_once():
    sums_saturate.cache_clear()
    sums_saturate()
    sums_saturate()
    assert (sums_saturate.cache_info().misses, sums_saturate.cache_info().hits) == (1, 1)


@pytest.mark.parametrize(
    "flags", [(), ("avx512f",), ("avx_vnni",), ("avx512_vnni",), ("avx512f", "avx_vnni"), ("avx512_vnni", "avx_vnni")]
)
def test_sums_are_said_to_saturate_where_those_of_a_network_do(tmp_path, flags):
    """On this CPU, and as on others: with AVX2 alone, AVX-VNNI alone, AVX-512 without VNNI."""
    environment = hidden(tmp_path, *flags) if flags else os.environ
    done = subprocess.run(
        [sys.executable, "-c", TRIED], env=environment, check=True, capture_output=True, text=True, timeout=300
    )
    said, happened = done.stdout.split()
    assert said == happened
