import pytest

import edgefer


@pytest.mark.parametrize("name", edgefer.__all__)
def test_every_public_name_is_there_and_documented(name):
    assert getattr(edgefer, name).__doc__
