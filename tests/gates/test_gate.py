import pytest

from edgefer.errors import InputError
from edgefer.gates.gate import load_gates
from edgefer.gates.metric import METRICS


@pytest.fixture
def load(tmp_path):
    """Loads gates from text."""

    def write(text, schema='schema = "edgefer.gates/1"\n'):
        (tmp_path / "gates.toml").write_text(schema + text)
        return load_gates(tmp_path / "gates.toml")

    return write


def test_the_default_gates_look_at_every_kind_of_evidence():
    gates = load_gates()
    assert {gate.metric.source for gate in gates} == {"bundle", "evaluation", "benchmark"}
    assert {gate.metric.name for gate in gates} == METRICS.keys() - {"macro_f1"}


def test_a_gate_states_metric_bounds_missing_evidence_and_place(load):
    (gate,) = load("""
        [gate.fast]
        metric = "latency_p50"
        at_most = "40 ms"
        max_increase = "1.05x"
        resolution = "2 ms"
        missing = "fail"
        where = {device = "pi4", threads = "4"}
    """)
    assert gate.metric.name == "latency_p50"
    assert (gate.level.value, gate.change.value, gate.resolution.value) == (40, pytest.approx(0.05), 2)
    assert (gate.missing, gate.where) == ("fail", {"device": "pi4", "threads": "4"})


@pytest.mark.parametrize(
    ("table", "told"),
    [
        ("[gate.size]\nat_most = 8", 'gate size: 8 has no unit: write "1 B" or "1 kB"'),
        ('[gate.accuracy]\nmax_decrease = "1 %"', """gate accuracy: '1 %' is not such a quantity: write "1 point"$"""),
        ("[gate.accuracy]\nmax_decrease = 0.01", 'gate accuracy: 0.01 has no unit: write "1 point"$'),
        ('[gate.accuracy]\nat_most = "60 %"', "accuracy is worse when lower: write at_least or max_decrease"),
        ('[gate.size]\nmax_decrease = "1 %"', "size is worse when higher: write at_most or max_increase"),
        ('[gate.latency]\nat_most = "1 ms"', "no metric is called 'latency': did you mean latency_p"),
        ("[gate.size]", "has no bound: write at_most, max_increase or both"),
        ('[gate.size]\nat_most = "8 MB"\nmising = "fail"', "'mising' is no key of a gate"),
        ('[gate.size]\nat_most = "8 MB"\nmissing = "ignore"', 'write "fail", "skip" or "unknown"'),
        ('[gate.size]\nat_most = "8 MB"\nwhere = {board = "pi4"}', "where names format, head, label, device, threads"),
        ('[gate.size]\nat_most = "8 MB"\nresolution = "1 %"', "counted, not estimated"),
        ("gate = 3", r"a table \[gate\.NAME\] per gate"),
        ("[gate]\nsize = 3", "gate size: is not a table"),
        ("[gates.size]", r"a table \[gate\.NAME\] per gate"),
        ("[gate.size", "gates cannot be read"),
    ],
)
def test_a_wrong_gate_is_named_with_what_to_write(load, table, told):
    with pytest.raises(InputError, match=told) as error:
        load(table)
    assert "gates.toml" in error.value.message


def test_a_file_of_another_schema_is_refused(load):
    with pytest.raises(InputError, match=r'does not begin with schema = "edgefer\.gates/1"'):
        load("", schema='schema = "edgefer.gates/2"\n')
