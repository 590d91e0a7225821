from edgefer.graph.batches import images_at_once
from tests.graph.networks import network


def test_small_networks_take_several():
    assert images_at_once(network("y = Relu(x)", "y")) > 1


def test_large_maps_run_one_by_one():
    assert images_at_once(network("y = Relu(x)", "y", x=(1, 64, 224, 224))) == 1
