import re

import click
import pytest

from edgefer.cli.main import COMMANDS, cli


def commands(command, name):
    """A command and all below it, by name."""
    yield name, command
    if isinstance(command, click.Group):
        for below in command.list_commands(click.Context(command)):
            yield from commands(command.get_command(click.Context(command), below), f"{name} {below}")


@pytest.mark.parametrize("name", COMMANDS)
def test_help_shows_defaults_as_one_types_them(name):
    for path, command in commands(cli.get_command(click.Context(cli), name), name):
        context = click.Context(command, info_name=path, max_content_width=1000, terminal_width=1000)
        text = command.get_help(context)
        assert "[default: (" not in text, path
        for option in command.params:
            if isinstance(option, click.Option) and option.show_default is True and option.default is not None:
                shown = re.search(rf"{option.opts[-1]} .*?\[default: ([^\];]+)", text, re.DOTALL)[1]
                typed = [shown] if option.multiple else shown
                default = option.type_cast_value(context, option.get_default(context))
                assert option.type_cast_value(context, typed) == default, f"{path} {option.opts[-1]}"
