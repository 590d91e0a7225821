"""The published JSON Schema of evaluations."""

import json
from importlib.resources import files


def evaluation_schema():
    return json.loads(files("edgefer").joinpath("schemas", "evaluation-1.schema.json").read_text("utf-8"))
