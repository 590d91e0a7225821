import pytest

from edgefer.runtime.refusals import refusal

SHAPES = "R finds shapes of its inputs that do not fit together"
SAID = {
    "Could not find an implementation for Foo(13) node with name 'n1'": "node 'n1' (Foo): R has no kernel for it",
    'INVALID_GRAPH : In Node, ("n1", Relu, "", -1) : -> ("y",) , Error Unrecognized attribute: a': (
        "node 'n1' (Relu): R knows no attribute a of it"
    ),
    "FAIL : Node (n1) Op (Concat) [ShapeInferenceError] Can't merge shape info.": f"node 'n1' (Concat): {SHAPES}",
    "FAIL : Type Error: Type parameter (T) of Optype (Add) bound to different types (tensor(float) in node (n1).": (
        "node 'n1' (Add): R finds types of its inputs that do not fit together"
    ),
    "Non-zero status code returned while running Gather node. Name:'n1' Status Message: out of data bounds, idx=9": (
        "node 'n1' (Gather): R finds an index out of bounds"
    ),
    "/reshape.cc:92 num_input_elements != num_output_elements (48 != 6) Node number 3 (RESHAPE) failed to prepare.": (
        f"node '3' (RESHAPE): {SHAPES}"
    ),
    "/src/core/graph.cc:4164 AddInitializedOrtValue Attempt to replace": "R cannot open it",
    "": "R cannot open it",
}


@pytest.mark.parametrize("said", SAID)
def test_node_and_cause_are_told_and_what_was_said_is_the_detail(said):
    error = refusal("R", "open", said)
    assert (error.message, error.detail) == (SAID[said], said)
