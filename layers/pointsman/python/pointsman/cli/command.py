"""What all commands share: an option that takes one value is refused if it is given twice."""

import functools

import click


class Command(click.Command):
    """A click command that refuses a repeated option. Click itself silently keeps only the last value."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Parses as click does. Raises UsageError if an option that takes one value is given twice."""
        _, _, given = self.make_parser(ctx).parse_args(args=list(args))
        for option in given:
            single = isinstance(option, click.Option) and not (option.multiple or option.count or option.is_flag)
            if single and (times := given.count(option)) > 1:
                raise click.UsageError(f"{option.opts[-1]} is given {times} times; it takes one value", ctx)
        return super().parse_args(ctx, args)


command = functools.partial(click.command, cls=Command)
"""Decorates a function as a command, as `click.command` does."""


class Group(click.Group):
    """A group of `Command`s."""

    command_class = Command
