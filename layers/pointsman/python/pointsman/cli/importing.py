"""`pointsman import`: makes config of what people have from elsewhere."""

from collections.abc import Sequence
from pathlib import Path

import click

from pointsman.cli.command import Group, command
from pointsman.cli.documents import files_of
from pointsman.cli.import_consul import consul
from pointsman.cli.imported import check_out, deliver, out_option, pairs, report_option
from pointsman.cli.options import read_bytes
from pointsman.importers.app_mesh import import_app_mesh
from pointsman.model.errors import InvalidInput
from pointsman.model.loading import MOST_BYTES


@click.group(cls=Group)
def import_() -> None:
    """Make config entries and registrations of what other systems have."""


@command("app-mesh")
@out_option
@report_option
@click.option("--agent", metavar="DIR", help="Also write definitions with the health checks, for `pointsman agent`.")
@click.option("--dc", default="dc1", show_default=True, metavar="DC", help="The datacenter of the registrations.")
@click.option("--name", "names", multiple=True, metavar="OLD=NEW", help="Call what was called OLD the service NEW.")
@click.option("--set", "values", multiple=True, metavar="NAME=VALUE", help="What the placeholder or parameter NAME is.")
@click.argument("files", nargs=-1, required=True, metavar="FILE|DIR...")
def app_mesh(
    out: str,
    report_file: str | None,
    agent: str | None,
    dc: str,
    names: Sequence[str],
    values: Sequence[str],
    files: Sequence[str],
) -> int:
    """Make config of AWS App Mesh's resources, as a directory that `pointsman apply` reads.

    FILEs are what `aws appmesh describe-...` or `terraform show -json` printed, files for --cli-input-json,
    CloudFormation templates, or Kubernetes resources; "-" is standard input. Of a directory all files are read that end
    in .json, .yaml or .yml, and those that are something else are passed over. Whatever is not converted is named, with
    its place and what to do instead; docs/from-app-mesh.md has the whole way.

    Exit codes: 0 all is converted; 1 refused, nothing is written; 3 written, and something that could not be converted
    is named.

    \b
      pointsman import app-mesh mesh.yaml --out config/
      pointsman apply --store pointsman.db --plan config/
    """
    for directory in (out, agent):
        check_out(directory)
    if agent and Path(agent).absolute() == Path(out).absolute():
        raise InvalidInput.single(agent, "", "is where --out goes; name two directories")
    directories = [name for name in files if name != "-" and Path(name).is_dir()]
    beside = [each for each in files_of(directories) if not each.endswith(".hcl")]
    contents = [
        (name, read_bytes(name, MOST_BYTES)) for name in [*(each for each in files if each not in directories), *beside]
    ]
    imported = import_app_mesh(
        contents,
        datacenter=dc,
        names=pairs("--name", names),
        values=pairs("--set", values),
        for_agent=agent is not None,
        beside=frozenset(beside),
    )
    return deliver(out, report_file, imported, (agent, imported.definitions, "definition", "for agents"))


import_.add_command(app_mesh)
import_.add_command(consul)
