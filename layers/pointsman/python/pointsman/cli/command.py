"""What all commands have in common: an option that takes one value is refused when it is given twice."""

import functools

import click


class Command(click.Command):
    """A click command that never drops a value silently, as click does with all but the last."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """As click's. Raises UsageError for an option that was given twice and takes one value."""
        _, _, given = self.make_parser(ctx).parse_args(args=list(args))
        for option in given:
            single = isinstance(option, click.Option) and not (option.multiple or option.count or option.is_flag)
            if single and (times := given.count(option)) > 1:
                raise click.UsageError(f"{option.opts[-1]} is given {times} times; it takes one value", ctx)
        return super().parse_args(ctx, args)


command = functools.partial(click.command, cls=Command)
"""Decorates a function that becomes a command, as `click.command` does."""


class Group(click.Group):
    """A group of such commands."""

    command_class = Command
