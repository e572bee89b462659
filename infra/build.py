"""Build what `sam deploy` uploads: build/layer.zip and a zip per function, without Docker.

The wheels of infra/layer.txt are fetched for the platform and the Python of the functions, not for those of this
machine, and read as the zip files that they are. The same sources and wheels give the same bytes.
"""

import argparse
import ast
import hashlib
import re
import subprocess
import sys
import tempfile
import tomllib
import zipfile
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parent.parent
LIBRARY = REPOSITORY / "layers/pointsman/python"
FUNCTIONS = REPOSITORY / "functions"
LOCK = REPOSITORY / "requirements.lock"

PYTHON = "3.13"
"""The runtime in infra/template.yaml."""

MACHINES = {"arm64": "aarch64", "x86_64": "x86_64"}
# Amazon Linux 2023, on which the runtime stands, has glibc 2.34: https://peps.python.org/pep-0600/.
_GLIBC = ("manylinux_2_34", "manylinux_2_28", "manylinux_2_17", "manylinux2014")

LARGEST_LAYER = 20_000_000
"""Bytes of the zipped layer; more makes cold starts slow long before Lambda's own limit."""

NOT_SHIPPED = tuple(
    f"pointsman/{room}/"
    for room in (
        "adapter",
        "agent",
        "bootstrap",
        "cli",
        "disk",
        "importers",
        "machine",
        "page",
        "quickstart",
        "serve",
        "shadow",
    )
)
"""Parts of the library that no function runs."""

_NOT_OURS = ("bin/", "cli/", "test/", "tests/")
"""What wheels put beside their packages."""

_TRACED = ("xds_protos",)
"""Distributions of which only the modules go along that the library imports, and what those import."""

_EPOCH = (1980, 1, 1, 0, 0, 0)

Files = dict[str, bytes]


def main() -> None:
    """The command line: `python infra/build.py [--arch arm64|x86_64|local] [--out build]`."""
    parser = argparse.ArgumentParser(description="Build the layer and the functions.")
    parser.add_argument("--arch", choices=[*MACHINES, "local"], default="arm64", help="local: this very Python")
    parser.add_argument("--out", type=Path, default=REPOSITORY / "build")
    arguments = parser.parse_args()
    wheels = fetch(arguments.arch, wheels_in(arguments.out, arguments.arch))
    for path in build(wheels, arguments.out):
        print(f"{path}\t{path.stat().st_size / 1e6:.2f} MB\t{hashlib.sha256(path.read_bytes()).hexdigest()[:16]}")
    if (size := (arguments.out / "layer.zip").stat().st_size) > LARGEST_LAYER:
        sys.exit(f"layer.zip has {size} bytes, {LARGEST_LAYER} are allowed; see what grew with `unzip -v`")


def wheels_in(out: Path, arch: str) -> Path:
    """The folder below `out` where the wheels for `arch` stay: those of this Python are no other's."""
    version = "-{}.{}".format(*sys.version_info) if arch == "local" else ""
    return out / f"wheels-{arch}{version}"


def fetch(arch: str, folder: Path) -> list[Path]:
    """The wheels of infra/layer.txt for `arch`, in `folder`: what is there already is not fetched again."""
    folder.mkdir(parents=True, exist_ok=True)
    if unknown := [name for name in _names() if _plain(name) not in _lock()]:
        sys.exit(f"{', '.join(unknown)}: infra/layer.txt names what requirements.lock does not; run `make lock`")
    if all(found := [_locked(folder, name) for name in _names()]):
        return [wheel for wheel in found if wheel]
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"]
    command += ["--only-binary=:all:"]
    if arch != "local":
        command += ["--implementation", "cp", "--python-version", PYTHON]
        command += [f"--platform={glibc}_{MACHINES[arch]}" for glibc in _GLIBC]
    # Somebody else may be building: a wheel is in the folder as a whole or not at all.
    with tempfile.TemporaryDirectory(dir=folder) as beside:
        wanted = Path(beside, "layer.lock")
        wanted.write_text("".join(_lock()[_plain(name)][1] for name in _names()))
        subprocess.run([*command, "--require-hashes", "-r", str(wanted), "--dest", beside], check=True)
        for wheel in Path(beside).glob("*.whl"):
            wheel.replace(folder / wheel.name)
    return [wheel for name in _names() if (wheel := _locked(folder, name))]


def build(wheels: Iterable[Path], out: Path) -> list[Path]:
    """Write layer.zip and a zip per function into `out`; their paths."""
    return [build_layer(wheels, out), *build_functions(out)]


def build_layer(wheels: Iterable[Path], out: Path) -> Path:
    """Write layer.zip into `out`: the library, what it needs, and the name of the build (`aws/deployed.py`)."""
    files = _library() | _packages(wheels)
    files["pointsman/build.txt"] = _name_of(files).encode()
    return _zip(out / "layer.zip", {f"python/{name}": data for name, data in files.items()})


def _name_of(files: Files) -> str:
    """The version of the library and a digest of all `files`: the same sources and wheels have the same name."""
    digest = hashlib.sha256()
    for name, data in sorted(files.items()):
        digest.update(f"{name} {hashlib.sha256(data).hexdigest()}\n".encode())
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
    return f"{project['version']}-{digest.hexdigest()[:12]}"


def build_functions(out: Path) -> list[Path]:
    """Write a zip per function into `out`."""
    return [
        _zip(out / f"{handler.parent.name}.zip", _sources(handler.parent))
        for handler in sorted(FUNCTIONS.glob("*/handler.py"))
    ]


def _names() -> list[str]:
    lines = (REPOSITORY / "infra/layer.txt").read_text().splitlines()
    return [line.strip() for line in lines if line.strip() and not line.startswith("#")]


def _lock() -> dict[str, tuple[str, str]]:
    """What requirements.lock says of each distribution: its version, and its lines, hashes among them."""
    blocks = re.finditer(r"^([\w.-]+)==([^\s;]+).*\n(?: +--hash=.*\n)+", LOCK.read_text(), re.MULTILINE)
    return {_plain(each[1]): (each[2], each[0]) for each in blocks}


def _locked(folder: Path, name: str) -> Path | None:
    """The wheel of a distribution in the version that the lock names, if it is there."""
    wanted, _ = _lock()[_plain(name)]
    for wheel in sorted(folder.glob("*.whl")):
        distribution, version = wheel.name.split("-")[:2]
        if _plain(distribution) == _plain(name) and version == wanted:
            return wheel
    return None


def _plain(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def _sources(folder: Path) -> Files:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and "__pycache__" not in path.parts
    }


def _library() -> Files:
    wanted = (".py", ".lark", "py.typed")
    return {
        name: data
        for name, data in _sources(LIBRARY).items()
        if name.startswith("pointsman/") and name.endswith(wanted) and not name.startswith(NOT_SHIPPED)
    }


def _packages(wheels: Iterable[Path]) -> Files:
    whole: Files = {}
    traced: Files = {}
    for wheel in wheels:
        with zipfile.ZipFile(wheel) as archive:
            found = {name: archive.read(name) for name in archive.namelist() if _is_shipped(name)}
        (traced if wheel.name.startswith(_TRACED) else whole).update(found)
    about = {name: data for name, data in traced.items() if ".dist-info/" in name}
    return whole | about | _reached(_library(), traced)


def _is_shipped(name: str) -> bool:
    # RECORD lists what is not all there any more. Type stubs and sources of C are for who compiles or checks.
    if name.endswith(("/", "/RECORD", ".pyi", ".pyx", ".pxd", ".c", ".h")):
        return False
    if ".data/scripts/" in name:
        return False
    if ".data/" in name:
        raise SystemExit(f"{name}: a wheel with files outside its packages; say in infra/build.py where they belong")
    return not name.startswith(_NOT_OURS)


def _reached(roots: Mapping[str, bytes], files: Mapping[str, bytes]) -> Files:
    """Of `files`, the modules that `roots` import, what those import, and the packages around them."""
    out: Files = {}
    todo = {path for source in roots.values() for path in _imported(source, files)}
    while todo:
        path = todo.pop()
        out[path] = files[path]
        around = {f"{parent.as_posix()}/__init__.py" for parent in Path(path).parents} & files.keys()
        todo |= {*around, *_imported(files[path], files)} - out.keys()
    return out


def _imported(source: bytes, files: Mapping[str, bytes]) -> Iterator[str]:
    for name in _import_names(source):
        path = name.replace(".", "/")
        for candidate in (f"{path}.py", f"{path}/__init__.py"):
            if candidate in files:
                yield candidate


def _import_names(source: bytes) -> Iterator[str]:
    try:
        tree = ast.parse(source)
    except (SyntaxError, ValueError):
        return  # py.typed, a grammar
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def _zip(path: Path, files: Mapping[str, bytes]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
        for name, data in sorted(files.items()):
            entry = zipfile.ZipInfo(name, _EPOCH)
            entry.compress_type = zipfile.ZIP_DEFLATED
            entry.create_system = 3
            entry.external_attr = 0o644 << 16  # whoever runs the function must be able to read it
            archive.writestr(entry, data)
    return path


if __name__ == "__main__":
    main()
