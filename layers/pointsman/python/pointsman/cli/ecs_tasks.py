"""The option `--ecs-tasks`: which services the tasks of Amazon ECS are instances of."""

import click

from pointsman.cli.options import read_text
from pointsman.model.sources.task_claim import TaskSettings, read_task_settings

ecs_tasks_option = click.option(
    "--ecs-tasks",
    envvar="POINTSMAN_ECS_TASKS",
    default="",
    metavar="JSON|@FILE",
    help="Which services the tasks of Amazon ECS are instances of (docs/sources.md).",
)


def read_ecs_tasks(value: str) -> TaskSettings:
    """The settings in `value`, JSON or `@` and the name of a file with it. Raises InvalidInput."""
    return read_task_settings(read_text(value[1:]) if value.startswith("@") else value)
