import json

import pytest

from edgefer.cli.main import main
from edgefer.networks.families import families


def test_families_are_listed_with_what_they_read(tmp_path, capsys):
    with pytest.raises(SystemExit) as end:
        main(["families", "--json", str(tmp_path / "families.json")])
    assert end.value.code == 0
    listed = json.loads((tmp_path / "families.json").read_text())
    assert [family["name"] for family in listed] == [*families()]
    text = capsys.readouterr().out
    assert all(f"\n{name} " in f"\n{text}" for name in families())
    assert "Distract your Attention" in text
