"""`pointsman bootstrap`: prints the bootstrap of an Envoy."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from ipaddress import ip_address
from pathlib import Path
from urllib.parse import urlsplit

import click
import orjson

from pointsman.bootstrap.document import (
    AdapterTls,
    Address,
    Fetch,
    FetchFiles,
    FetchFunction,
    FetchGrpc,
    FetchHttp,
    Host,
    HostName,
    IpPort,
    Node,
    SdsFiles,
    SdsSocket,
    SecretFiles,
    UnixSocket,
    gateway_bootstrap,
    sidecar_bootstrap,
)
from pointsman.bootstrap.function import CA_BUNDLE, region_of
from pointsman.bootstrap.here import check_here, remarks_here
from pointsman.bootstrap.secrets import SPIRE_SOCKET, Secrets
from pointsman.bootstrap.server import Place
from pointsman.cli.command import command
from pointsman.cli.options import engine_on, store_option
from pointsman.delivery.drains import drained_clusters
from pointsman.delivery.secret_source import read_sds
from pointsman.discovery.proxy import GatewayId, ProxyId, SidecarId
from pointsman.model.errors import InvalidInput
from pointsman.model.names import DEFAULT_NAMESPACE
from pointsman.model.registration import Registration
from pointsman.pipeline.config import Config, load_root
from pointsman.xds.manifest import SidecarManifest

_DRAINS = (
    "start this Envoy with --drain-time-s N: connections to upstreams with OnSwitch: drain end within N seconds after "
    "another target took over, without the option within 600"
)


def _socket(field: str, text: str) -> tuple[str, int]:
    ip, _, port = text.rpartition(":")
    if not ip or not (port.isdecimal() and len(port) <= 5):
        raise click.BadParameter(f'"{text}" is not IP:PORT', param_hint=field)
    return ip.strip("[]"), int(port)


@command()
@store_option
@click.option("--dc", required=True, metavar="DC", help="The proxy's datacenter.")
@click.option("--namespace", default=DEFAULT_NAMESPACE, show_default=True)
@click.option(
    "--gateway/--sidecar",
    default=None,
    help="Whether PROXY is a mesh gateway's id or a service; needed only where both are registered.",
)
@click.option("--files", default="", metavar="DIR", help="Fetch from the directory that `pointsman up --files` keeps.")
@click.option(
    "--http",
    multiple=True,
    metavar="URL|unix:PATH",
    help="Or over HTTP: the address of `pointsman adapter http`. Repeatable, or with commas: the next one while the"
    " first fails.",
)
@click.option(
    "--grpc",
    multiple=True,
    metavar="URL|unix:PATH",
    help="Or over gRPC: the address of `pointsman adapter grpc`. Repeatable, or with commas: the next one while the"
    " first fails.",
)
@click.option("--function-url", default="", metavar="URL", help="Or from the function: the stack's DiscoveryURL.")
@click.option("--region", default="", metavar="REGION", help="The function's region (default: from its URL).")
@click.option("--ca-bundle", default=CA_BUNDLE, show_default=True, metavar="FILE", help="Public CAs, for the function.")
@click.option(
    "--refresh-delay",
    type=float,
    metavar="SECONDS",
    help="Between polls of clusters and listeners (default: 0.5 over HTTP, 5 from the function, where each one costs).",
)
@click.option(
    "--adapter-id",
    default="",
    metavar="SAN",
    help="The SAN in the certificates of https adapters (default: the name or the IP address in each URL).",
)
@click.option("--admin", default="127.0.0.1:19000", show_default=True, metavar="IP:PORT", help="Envoy's admin.")
@click.option(
    "--node-id", default="", metavar="ID", help="The node id, unique for each Envoy (default: the registration's ID)."
)
@click.option("--public", default="", metavar="IP:PORT", help="Where a sidecar listens (default: as registered).")
@click.option("--app", default="", metavar="IP:PORT", help="The service behind a sidecar (default: as registered).")
@click.option("--certificate", default="", metavar="FILE", help="A sidecar's certificate chain (PEM).")
@click.option("--private-key", default="", metavar="FILE", help="Its private key (PEM).")
@click.option("--ca", default="", metavar="FILE", help="The CAs that it trusts (PEM).")
@click.option(
    "--sds",
    default="",
    metavar="DIR|spire",
    help="Instead of the three: certificates that rotate, from `pointsman secrets` or a SPIRE agent.",
)
@click.option("--sds-socket", default=SPIRE_SOCKET, show_default=True, metavar="PATH", help="The agent's socket.")
@click.option("--access-log", default="", metavar="FILE", help="Log a sidecar's incoming connections, as JSON lines.")
@click.option(
    "--elsewhere", is_flag=True, help="For an Envoy on another machine: do not look for its files and ports here."
)
@click.argument("proxy")
def bootstrap(
    store: str,
    dc: str,
    namespace: str,
    gateway: bool | None,
    files: str,
    http: tuple[str, ...],
    grpc: tuple[str, ...],
    function_url: str,
    region: str,
    ca_bundle: str,
    refresh_delay: float | None,
    adapter_id: str,
    admin: str,
    node_id: str,
    public: str,
    app: str,
    certificate: str,
    private_key: str,
    ca: str,
    sds: str,
    sds_socket: str,
    access_log: str,
    elsewhere: bool,
    proxy: str,
) -> None:
    """Print the bootstrap of a registered PROXY: a sidecar by its service, a mesh gateway by its id.

    It says who the Envoy is, whom it trusts, where a sidecar listens for the mesh, and where its application is. Envoy
    fetches all listeners, clusters and endpoints: from files, which must exist before Envoy starts; from an adapter, at
    http://IP:PORT or unix:PATH on the same machine, or at https://HOST:PORT with the proxy's certificate; or, on AWS,
    from the stack's function, with requests that Envoy signs with the credentials of its role.

    Of several hosts with sidecars of one service, each has its own --public and --app, if the service is registered
    without or with others. With --files there is nobody to ask: then a sidecar listens where it is registered.

    Of several adapters, which are on one store, Envoy asks the first, and while that fails or refuses the proxy the
    next one.

    The certificates that the bootstrap names must exist on this machine, unless the Envoy runs --elsewhere. Files that
    `pointsman up` has yet to write and ports in use are only warned about on stderr: they matter when Envoy starts.

    Several Envoys on one machine each need their own --admin, and on Envoy's command line their own --base-id (any
    number) or --disable-hot-restart. When routes change, open connections keep the old routes for up to --drain-time-s
    (Envoy's default: 600 seconds), and with OnSwitch: drain the old target when another one serves. If the proxy has
    such an upstream, stderr says so.

    Envoy reads certificates in files once, at its start. With --sds they rotate; give the adapter, or `pointsman up`,
    the same --sds. A SPIRE agent is asked for `default` and `ROOTCA`, or with spire:IDENTITY,TRUST for those names.

    \b
      pointsman bootstrap s1 --store pointsman.db --dc dc1 --files envoys \\
          --certificate s1.pem --private-key s1.key --ca ca.pem > s1.json
      pointsman bootstrap gateway-1 --store pointsman.db --dc dc1 --files envoys > gateway.json
      pointsman bootstrap gateway-1 --store s3://BUCKET --dc dc1 \\
          --function-url https://ID.lambda-url.eu-central-1.on.aws --refresh-delay 5 > gateway.json
      pointsman bootstrap s1 --store pointsman.db --dc dc1 --grpc unix:/run/pointsman.sock --sds spire > s1.json
      pointsman bootstrap s1 --store s3://BUCKET --dc dc1 --sds spire --elsewhere \\
          --grpc https://xds.dc1.example:8443 --grpc https://xds.dc2.example:8443 > s1.json
      envoy -c s1.json --base-id 1 --drain-time-s 60
    """
    with engine_on(store) as engine:
        config = engine.config(load_root(engine.objects, engine.refresh().root))
        who, registration = _registered(config, dc, namespace, proxy, gateway=gateway)
        manifest = config.manifests[who.key]
    identity = _Identity({"--certificate": certificate, "--private-key": private_key, "--ca": ca}, sds, sds_socket)
    fetch = _fetch(
        files=files, http=http, grpc=grpc, function_url=function_url, adapter_id=adapter_id, identity=identity, who=who
    )
    fetch = _adjusted(fetch, refresh_delay, region, ca_bundle)
    at = Address(*_socket("--admin", admin))
    secrets = None if isinstance(who, GatewayId) else identity.secrets("a sidecar")
    if not elsewhere:
        needed = secrets or (fetch.tls.secrets if isinstance(fetch, FetchHttp | FetchGrpc) and fetch.tls else None)
        bundle = fetch.ca_bundle if isinstance(fetch, FetchFunction) else ""
        check_here(f'bootstrap of "{proxy}"', needed, bundle, access_log if secrets else "")
    listens = {"--admin": at}
    if secrets is None:
        made = gateway_bootstrap(Node(proxy, "mesh-gateway", dc, namespace), at, fetch)
    else:
        host = Host(
            IpPort(*_socket("--public", public)) if public else _public(registration),
            IpPort(*_socket("--app", app)) if app else _app(registration),
            _absolute(access_log) if access_log else registration.access_log_path,
        )
        if not isinstance(manifest, SidecarManifest) or manifest.inbound is None:
            reason = (
                "is of an older Pointsman, which had listeners in bootstraps; `pointsman apply` any of it once more"
            )
            raise InvalidInput.single("the config", "", reason)
        if isinstance(fetch, FetchFiles):
            _check_registered(host, manifest.inbound.registered)
        listens["--public"] = Address(*host.public)
        node = Node(node_id or registration.service.id or f"{proxy}-sidecar-proxy", proxy, dc, namespace)
        made = sidecar_bootstrap(node, at, fetch, secrets=secrets, host=host)
    if not elsewhere:
        for remark in remarks_here(fetch, listens):
            click.echo(f"pointsman: {remark}", err=True)
    if isinstance(manifest, SidecarManifest) and drained_clusters(manifest.listeners):
        click.echo(f"pointsman: {_DRAINS}", err=True)
    click.echo(orjson.dumps(made, option=orjson.OPT_INDENT_2).decode())


def _registered(
    config: Config, dc: str, namespace: str, name: str, *, gateway: bool | None
) -> tuple[ProxyId, Registration]:
    """The one proxy of this name and its registration. `gateway` says whether it is a mesh gateway; None: whichever is
    registered.

    Raises InvalidInput if none is registered, UsageError if both are.
    """
    candidates: dict[bool, ProxyId] = {True: GatewayId(dc, name), False: SidecarId(dc, namespace, name)}
    wanted = candidates.values() if gateway is None else [candidates[gateway]]
    found = [(who, config.registrations[who.key]) for who in wanted if who.key in config.registrations]
    if len(found) == 1:
        return found[0]
    if found:
        raise click.UsageError(f'"{name}" is a mesh gateway and a service in {dc}; give --gateway or --sidecar')
    kind = {True: "mesh gateway", False: "sidecar of", None: "proxy"}[gateway]
    known = ", ".join(config.registrations) or "none"
    raise InvalidInput.single(f'{kind} "{name}"', "", f"is not registered in {dc}; registered are: {known}")


@dataclass(frozen=True, slots=True)
class _Identity:
    """The options for the proxy's certificates: three files, or SDS."""

    files: dict[str, str]
    sds: str
    socket: str

    def secrets(self, who: str) -> Secrets:
        """The source of the certificates. Raises UsageError, which names `who`, if options are missing or contradict
        each other."""
        if self.sds:
            given = [name for name, value in self.files.items() if value]
            if given:
                raise click.UsageError(f"give either --sds or {', '.join(given)}")
            source = read_sds(self.sds)
            return source if isinstance(source, SdsFiles) else SdsSocket(UnixSocket(_absolute(self.socket)), source)
        missing = [name for name, value in self.files.items() if not value]
        if missing:
            raise click.UsageError(f"{who} needs {', '.join(missing)}, or --sds")
        return SecretFiles(*map(_absolute, self.files.values()))


def _fetch(
    *,
    files: str,
    http: tuple[str, ...],
    grpc: tuple[str, ...],
    function_url: str,
    adapter_id: str,
    identity: _Identity,
    who: ProxyId,
) -> Fetch:
    if len([way for way in (files, http, grpc, function_url) if way]) != 1:
        raise click.UsageError(
            "give one of --files DIR, --http URL|unix:PATH, --grpc URL|unix:PATH, --function-url URL"
        )
    if files:
        return FetchFiles(str(Path(files).resolve() / who.directory))
    if function_url:
        return _function(function_url)
    option, texts = ("--http", http) if http else ("--grpc", grpc)
    (at, *others), tls = _adapters(option, texts, adapter_id, identity)
    return FetchHttp(at, tls, others=tuple(others)) if http else FetchGrpc(at, tls, others=tuple(others))


def _function(url: str) -> FetchFunction:
    parts = urlsplit(url)
    if parts.scheme != "https" or not parts.hostname or parts.netloc != parts.hostname or parts.path not in ("", "/"):
        reason = f'"{url}" is not https://HOST; use the stack\'s output DiscoveryURL'
        raise click.BadParameter(reason, param_hint="--function-url")
    return FetchFunction(parts.hostname, region_of(parts.hostname))


def _adjusted(fetch: Fetch, refresh_delay: float | None, region: str, ca_bundle: str) -> Fetch:
    if isinstance(fetch, FetchFunction):
        fetch = replace(fetch, region=region or fetch.region, ca_bundle=ca_bundle)
        if not fetch.region:
            raise click.UsageError(f"{fetch.host} does not contain its region; give --region REGION")
    if refresh_delay is not None:
        if not isinstance(fetch, FetchFunction | FetchHttp):
            raise click.UsageError("--refresh-delay is only for --http and --function-url: nothing else is polled")
        fetch = replace(fetch, refresh_delay_ms=round(refresh_delay * 1000))
    return fetch


def _adapters(
    option: str, texts: Sequence[str], adapter_id: str, identity: _Identity
) -> tuple[list[Place], AdapterTls | None]:
    """The places in `texts`, and the TLS for them; at least one place."""
    found = [_adapter(option, each) for text in texts for each in text.split(",")]
    if len({secure for _, secure in found}) > 1:
        raise click.BadParameter("give either only https://HOST:PORT or only http:// and unix:", param_hint=option)
    secure = found[0][1]
    tls = AdapterTls(identity.secrets("an https adapter"), adapter_id) if secure else None
    return [place for place, _ in found], tls


def _adapter(option: str, text: str) -> tuple[Place, bool]:
    """The place in `text`, and whether it is reached over TLS."""
    if text.startswith("unix:"):
        return UnixSocket(_absolute(text.removeprefix("unix:"))), False
    scheme, _, place = text.rpartition("://")
    if scheme not in ("", "http", "https"):
        raise click.BadParameter(f'"{text}" is neither http(s)://HOST:PORT nor unix:PATH', param_hint=option)
    host, _, port = place.rstrip("/").rpartition(":")
    if not host or not (port.isdecimal() and len(port) <= 5):
        raise click.BadParameter(f'"{text}" is not HOST:PORT', param_hint=option)
    try:
        return Address(str(ip_address(host.strip("[]"))), int(port)), scheme == "https"
    except ValueError:
        return HostName(host, int(port)), scheme == "https"


def _absolute(path: str) -> str:
    return str(Path(path).resolve())


def _check_registered(host: Host, registered: Host | None) -> None:
    """Refuse a host that files cannot be made for: they are the same for every sidecar of a service."""
    if host == registered:
        return
    given = {"--public": host.public, "--app": host.app, "--access-log": host.access_log}
    known = (registered.public, registered.app, registered.access_log) if registered else ("", "", "")
    differ = [
        f"{name} {value or 'nothing'} and not {there or 'nothing'}"
        for (name, value), there in zip(given.items(), known, strict=True)
        if value != there
    ]
    raise click.UsageError(
        f"with --files a sidecar listens where it is registered: {', '.join(differ)}; register that (Service.Address, "
        "Service.Port, Proxy.LocalServicePort, Proxy.Config.access_log_path), or fetch over gRPC or HTTP"
    )


def _public(registration: Registration) -> IpPort:
    address, port = registration.listen
    if not address or not port:
        raise click.UsageError("the registration has no address and port to listen on; give --public IP:PORT")
    return IpPort(address, port)


def _app(registration: Registration) -> IpPort:
    proxy = registration.service.proxy
    if not proxy.local_service_port:
        raise click.UsageError("the registration has no LocalServicePort; give --app IP:PORT")
    return IpPort(proxy.local_service_address, proxy.local_service_port)
