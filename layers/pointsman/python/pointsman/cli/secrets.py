"""`pointsman secrets`: writes certificates that an Envoy reloads while it runs."""

from pathlib import Path

import click

from pointsman.cli.command import command


@command()
@click.option("--certificate", required=True, metavar="FILE", help="The proxy's certificate chain (PEM).")
@click.option("--private-key", required=True, metavar="FILE", help="Its private key (PEM).")
@click.option("--ca", required=True, metavar="FILE", help="The CAs that the proxy trusts (PEM).")
@click.argument("directory")
def secrets(certificate: str, private_key: str, ca: str, directory: str) -> None:
    """Write a proxy's certificates into DIRECTORY, as the SDS files identity.yaml and trust.yaml.

    An Envoy with a bootstrap from `pointsman bootstrap --sds DIRECTORY` reloads them, certificate and key in one step.
    Run this command after each renewal.

    \b
      pointsman secrets /run/certs/s1 --certificate s1.pem --private-key s1.key --ca ca.pem
      pointsman bootstrap s1 --store pointsman.db --dc dc1 --grpc unix:/run/pointsman.sock --sds /run/certs/s1
    """
    from pointsman.bootstrap.parts import SecretFiles
    from pointsman.bootstrap.sds_files import write_sds_files
    from pointsman.delivery.secret_source import SdsFiles
    from pointsman.disk.access import without_links

    changed = write_sds_files(SecretFiles(certificate, private_key, ca), SdsFiles(str(without_links(Path(directory)))))
    for path in changed:
        click.echo(f"{path} changed")
    if not changed:
        click.echo("nothing changed")
