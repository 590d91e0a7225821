"""What a package says of its golden images."""


def expected_values(package, case, artifact):
    """What an artifact makes of an image, in the order of `labels.txt`."""
    rows = [line.split("\t") for line in (package / "golden" / "expected.tsv").read_text().splitlines()]
    (values,) = (row[3:] for row in rows if row[:2] == [case, artifact])
    return list(map(float, values))
