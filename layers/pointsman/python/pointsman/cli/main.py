"""`pointsman`: the command line."""

import sys
from importlib import import_module
from typing import Any

import click

from pointsman.cli.output import report
from pointsman.machine.garbage import collect_rarely

_COMMANDS = {
    "adapter": ("adapter", "adapter"),
    "agent": ("agent", "agent"),
    "apply": ("config", "apply"),
    "backup": ("backup", "backup"),
    "bootstrap": ("bootstrap", "bootstrap"),
    "config": ("generations", "config"),
    "delete": ("config", "delete"),
    "diff": ("generations", "diff"),
    "doctor": ("doctor", "doctor"),
    "drain": ("orders", "drain"),
    "drill": ("drill", "drill"),
    "emit": ("emit", "emit"),
    "end": ("orders", "end"),
    "explain": ("explain", "explain"),
    "freeze": ("orders", "freeze"),
    "get": ("config", "get"),
    "history": ("history", "history"),
    "import": ("importing", "import_"),
    "instances": ("instances", "instances"),
    "list": ("config", "list_"),
    "openapi": ("openapi", "openapi"),
    "orders": ("orders", "orders"),
    "page": ("page", "page"),
    "pin": ("orders", "pin"),
    "proxies": ("proxies", "proxies"),
    "quickstart": ("quickstart", "quickstart"),
    "reconcile": ("reconcile", "reconcile"),
    "recover": ("recover", "recover"),
    "render": ("render", "render"),
    "rollback": ("config", "rollback"),
    "secrets": ("secrets", "secrets"),
    "shadow": ("shadow", "shadow"),
    "source": ("source", "source"),
    "status": ("status", "status"),
    "token": ("token", "token"),
    "up": ("up", "up"),
    "whatif": ("what_if", "whatif"),
}

_SECTIONS = {
    "Run it": ("quickstart", "up", "adapter", "agent", "bootstrap", "secrets", "openapi"),
    "Say what the mesh looks like": ("apply", "get", "list", "delete", "config", "diff", "rollback", "import"),
    "Tell of health": ("emit", "source"),
    "See what it decides": (
        "status",
        "explain",
        "instances",
        "proxies",
        "history",
        "page",
        "render",
        "whatif",
        "shadow",
        "doctor",
    ),
    "Steer": ("drain", "pin", "freeze", "orders", "end", "drill"),
    "Look after the store": ("token", "reconcile", "backup", "recover"),
}
"""The commands as `--help` lists them."""


class _LazyGroup(click.Group):
    """Imports a command only when it is used: the others do not pay for an AWS client or a web server."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _COMMANDS:
            return None
        module, name = _COMMANDS[cmd_name]
        command = getattr(import_module(f"pointsman.cli.{module}"), name)
        assert isinstance(command, click.Command)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        for title, names in _SECTIONS.items():
            found = [(name, command) for name in names if (command := self.get_command(ctx, name)) is not None]
            width = formatter.width - 4 - max(len(name) for name, _ in found)
            with formatter.section(title):
                formatter.write_dl([(name, command.get_short_help_str(width)) for name, command in found])


def _show_version(ctx: click.Context, option: click.Parameter, wanted: bool) -> None:
    if wanted and not ctx.resilient_parsing:
        # Computed only here: it may run git.
        from pointsman.cli.version import version_line

        click.echo(version_line())
        ctx.exit()


@click.group(cls=_LazyGroup, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.option(
    "--version",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=_show_version,
    help="Show the version and the commit that it was made from.",
)
def group() -> None:
    """Pointsman decides where Envoy traffic goes when a datacenter fails.

    \b
    See a failover on this machine, step by step:
      pointsman quickstart mesh
    Start it on one machine:
      pointsman up --store pointsman.db --files envoys/
    Describe the mesh, then report health:
      pointsman apply --store pointsman.db resolvers.yaml sidecars.json
      pointsman emit --url http://127.0.0.1:8420 event.json
    See what it decided, and what is wrong:
      pointsman status --store pointsman.db
      pointsman doctor --store pointsman.db

    POINTSMAN_STORE can name the store for all commands, or POINTSMAN_URL a running `pointsman up` to ask. Exit codes: 0
    done, 1 refused or failed (one line on stderr for each problem), 2 wrong usage; `emit`, `apply`, `proxies`,
    `whatif`, `shadow` and `drain` have more.

    \b
    Enable completion of commands and options (bash_source, zsh_source, fish_source):
      eval "$(_POINTSMAN_COMPLETE=bash_source pointsman)"
    """


def main() -> None:
    """The entry point of the console script."""
    collect_rarely()
    sys.exit(run(sys.argv[1:]))


def run(arguments: list[str]) -> int:
    """Run one command line and return its exit code."""
    try:
        result: Any = group.main(arguments, prog_name="pointsman", standalone_mode=False)
        return result if isinstance(result, int) else 0
    except click.exceptions.Abort:
        print("pointsman: interrupted", file=sys.stderr)
        return 130
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except BaseException as error:
        code = report(error)
        if code is None:
            raise
        return code
