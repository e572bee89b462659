"""`pointsman token`: who may speak to `pointsman up` from other machines."""

import secrets

import click
import orjson

from pointsman.cli.command import Group
from pointsman.cli.options import engine_on, store_option
from pointsman.cli.orders import who
from pointsman.model.tokens import Role, Token, new_token, secret_from, token_json, with_token, without_token
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
@click.option("--role", "roles", multiple=True, metavar="read|report", help="What it is for; repeatable.")
@click.option("--dc", "datacenters", multiple=True, metavar="DC", help="Only of this datacenter; repeatable.")
@click.option("--source", "sources", multiple=True, metavar="SOURCE|PREFIX*", help="Only as this source; repeatable.")
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
    certificate: str,
    name: str,
) -> int:
    """Make a token and print it, this once: only its digest is kept.

    With --certificate there is nothing to print or to send: who shows the certificate of that name has the token, where
    `up` knows the CA (--client-ca).

    `report` lets its holder send health events, `read` see the status. It works within seconds, without a restart.

    \b
      pointsman token make host-7 --role report --dc dc2 --source agent/host-7 --store pointsman.db > token
      pointsman token make dashboard --role read --store pointsman.db
      pointsman token make host-8 --role report --certificate spiffe://mesh.example/agent/host-8 --store pointsman.db
    """
    secret = secret_from(secrets.token_bytes(32))
    with engine_on(store, writes=True) as engine:
        made = new_token(
            name,
            secret,
            roles=roles,
            datacenters=datacenters,
            sources=sources,
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
    roles = ", ".join(role for role in Role if each.has(role))
    where = f" of {', '.join(each.datacenters)}" if each.datacenters else ""
    who = f" as {', '.join(each.sources)}" if each.sources else ""
    shows = f", with the certificate of {each.certificate}" if each.certificate else ""
    return f"{each.name}: {roles}{where}{who}{shows}; made by {each.by} at {each.at}"
