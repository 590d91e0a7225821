"""`edgefer package` and `edgefer verify` as commands."""

import json
from importlib.resources import files

import jsonschema
import pytest

from edgefer.cli.main import main


def run(*arguments):
    with pytest.raises(SystemExit) as exit:
        main([str(argument) for argument in arguments])
    return exit.value.code


def test_a_package_is_made_and_verified(tiny, keys, capsys):
    assert (
        run("package", tiny.path, "-o", keys / "app.zip", "--sign-key", keys / "maker", "--json", keys / "p.json") == 0
    )
    assert "The model card says: not evaluated." in capsys.readouterr().out
    assert run("verify", keys / "app.zip", "--key", keys / "maker.pub", "--json", keys / "v.json") == 0
    assert "whole and safe to unpack; signed by the owner of" in capsys.readouterr().out
    made, held = (json.loads((keys / name).read_text()) for name in ("p.json", "v.json"))
    for name, document in {"package": made, "verification": held}.items():
        schema = files("edgefer").joinpath("schemas", f"{name}-1.schema.json").read_text("utf-8")
        jsonschema.validate(document, json.loads(schema))
    assert made["sha256"] == held["sha256"]
    assert held["signed"] is True


def test_without_a_key_nobody_is_said_to_have_signed(tiny, tmp_path, capsys):
    run("package", tiny.path, "-o", tmp_path / "app.zip", "-q")
    assert capsys.readouterr().out == ""
    assert run("verify", tmp_path / "app.zip") == 0
    assert "signature not checked" in capsys.readouterr().out


def test_an_altered_package_exits_with_3(tiny, tmp_path, capsys):
    run("package", tiny.path, "-o", tmp_path / "app.zip", "-q")
    data = bytearray((tmp_path / "app.zip").read_bytes())
    data[1000] ^= 1
    (tmp_path / "app.zip").write_bytes(data)
    assert run("verify", tmp_path / "app.zip") == 3
    error = capsys.readouterr().err
    assert "app.zip: " in error
    assert "Traceback" not in error


def test_a_bundle_that_is_none_exits_with_3(tmp_path, capsys):
    assert run("package", tmp_path, "-o", tmp_path / "app.zip") == 3
    assert "not a bundle" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_a_signature_without_a_key_is_wrong_usage(tmp_path):
    assert run("verify", tmp_path / "app.zip", "--signature", tmp_path / "s") == 2


@pytest.mark.parametrize("command", ["package", "verify"])
def test_help_has_an_example(command, capsys):
    assert run(command, "--help") == 0
    assert f"edgefer {command} " in capsys.readouterr().out
