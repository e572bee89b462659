"""`pointsman token`: who may speak to `pointsman up` from other machines."""

import secrets

import click
import orjson

from pointsman.cli.command import Group
from pointsman.cli.options import engine_on, store_option
from pointsman.cli.orders import who
from pointsman.model.grants import Role
from pointsman.model.tokens import Token, new_token, secret_from, token_json, with_token, without_token
from pointsman.pipeline.tokens import read_tokens_object, swap_tokens
from pointsman.store import keys


@click.group(cls=Group)
def token() -> None:
    """Make, list and revoke the tokens with which other machines speak to `pointsman up --remote`.

    \b
      pointsman token make host-7 --role report --dc dc2 --source 'agent/*' --store pointsman.db
      pointsman token list --store pointsman.db
      pointsman token revoke host-7 --store pointsman.db
    """


@token.command()
@store_option
@click.option("--role", "roles", multiple=True, metavar="|".join(Role), help="What it is for; repeatable.")
@click.option("--dc", "datacenters", multiple=True, metavar="DC", help="report, register: only of this datacenter.")
@click.option("--source", "sources", multiple=True, metavar="SOURCE|PREFIX*", help="report: only as this source.")
@click.option("--service", "services", multiple=True, metavar="NAME|PREFIX*", help="register: only of this service.")
@click.option(
    "--certificate",
    default="",
    metavar="NAME",
    help="Whose client certificate stands for the token: its URI SAN, else its DNS SAN, else its common name.",
)
@click.argument("name")
def make(
    store: str,
    roles: tuple[str, ...],
    datacenters: tuple[str, ...],
    sources: tuple[str, ...],
    services: tuple[str, ...],
    certificate: str,
    name: str,
) -> int:
    """Make a token and print it, this once: only its digest is kept.

    With --certificate there is nothing to print or to send: who shows the certificate of that name has the token, where
    `up` knows the CA (--client-ca).

    `read` lets its holder see config, orders, sources and the status, `report` send health events, `register` write
    registrations, `order` give and end orders, `configure` write all config and forget sources. --dc, --source and
    --service limit what their roles may do; each can be repeated. With --service name a mesh gateway as gateway/ID, a
    service of another namespace as NAMESPACE/NAME.

    It works within seconds, without a restart.

    \b
      pointsman token make host-7 --role report --dc dc2 --source agent/host-7 --store pointsman.db > token
      pointsman token make host-8 --role report --certificate spiffe://mesh.example/agent/host-8 --store pointsman.db
      pointsman token make dashboard --role read --store pointsman.db
      pointsman token make ci --role configure --store pointsman.db
      pointsman token make web-hosts --role register --service 'web*' --dc dc1 --store pointsman.db
    """
    secret = secret_from(secrets.token_bytes(32))
    with engine_on(store, writes=True) as engine:
        made = new_token(
            name,
            secret,
            roles=roles,
            datacenters=datacenters,
            sources=sources,
            services=services,
            at=engine.now(),
            by=who(),
            certificate=certificate,
        )
        swap_tokens(engine, lambda tokens: with_token(tokens, made))
    click.echo(_line(made) if certificate else secret)
    return 0


@token.command("list")
@store_option
@click.option("--json", "as_json", is_flag=True, help="For programs.")
def list_(store: str, as_json: bool) -> int:
    """Show the tokens: what each may do, and who made it when. What they say is not kept.

    \b
      pointsman token list --store pointsman.db
    """
    with engine_on(store) as engine:
        found = read_tokens_object(engine.store.get(keys.TOKENS)).tokens
    if as_json:
        click.echo(orjson.dumps([token_json(each) for each in found], option=orjson.OPT_INDENT_2).decode())
        return 0
    for each in found:
        click.echo(_line(each))
    if not found.by_name:
        click.echo("there are no tokens; `pointsman token make` makes one", err=True)
    return 0


@token.command()
@store_option
@click.argument("name")
def revoke(store: str, name: str) -> int:
    """Revoke a token. Nobody is let in with it any more, within seconds.

    \b
      pointsman token revoke host-7 --store pointsman.db
    """
    with engine_on(store, writes=True) as engine:
        swap_tokens(engine, lambda tokens: without_token(tokens, name))
    click.echo(f"revoked {name}")
    return 0


def _line(each: Token) -> str:
    grant = each.grant
    roles = ", ".join(role for role in Role if role in grant.roles)
    where = f" of {', '.join(grant.datacenters)}" if grant.datacenters else ""
    who = f" as {', '.join(grant.sources)}" if grant.sources else ""
    what = f" for {', '.join(grant.services)}" if grant.services else ""
    shows = f", with the certificate of {each.certificate}" if each.certificate else ""
    return f"{each.name}: {roles}{where}{who}{what}{shows}; made by {each.by} at {each.at}"
