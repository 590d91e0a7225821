"""Small face networks, by name: each a stem on 64x64 faces and operators as real code mixes them."""

from benchmarks.operator_networks.activations import ACTIVATIONS
from benchmarks.operator_networks.attention import ATTENTION
from benchmarks.operator_networks.heads import HEADS
from benchmarks.operator_networks.images import IMAGES
from benchmarks.operator_networks.norms import NORMS
from benchmarks.operator_networks.pooling import POOLING
from benchmarks.operator_networks.sequences import SEQUENCES

NETWORKS = {**HEADS, **POOLING, **ATTENTION, **NORMS, **SEQUENCES, **IMAGES, **ACTIVATIONS}
