"""Directories that others may write in: nothing outside of them changes, and files are for who should read them."""

import contextlib
import os
import stat
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from pointsman.adapter.files.files_adapter import OURS
from pointsman.adapter.follow.follower import Follower
from pointsman.adapter.follow.saved import Saved
from pointsman.bootstrap.parts import SecretFiles
from pointsman.bootstrap.sds_files import write_sds_files
from pointsman.delivery.secret_source import SdsFiles
from pointsman.disk import access
from pointsman.disk.access import PRIVATE, SHARED, read_group, shared_directory, without_links
from pointsman.disk.lock import DirectoryLock
from pointsman.disk.operations import FileOperations
from pointsman.model.errors import InvalidInput, PointsmanError

from tests.adapter.doubles import Clock, Remote
from tests.adapter.node import S1, WHERE, Node, serving
from tests.adapter.published import Publisher, content, sidecar_plan
from tests.fleet.ca import CertificateAuthority

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can be two users")

SOMEBODY, SOMEBODY_ELSE, ENVOY = 51_001, 51_002, 51_003
"""Users, each with the group of the same number."""

VICTIM = b"what is to stay as it is"


@contextlib.contextmanager
def acting_as(user: int, *groups: int) -> Iterator[None]:
    """This process with the rights of another user while the block lasts; root only."""
    before = os.getgroups()
    os.setgroups([user, *groups])
    os.setegid(user)
    os.seteuid(user)
    try:
        yield
    finally:
        os.seteuid(0)
        os.setegid(0)
        os.setgroups(before)


@pytest.fixture
def place() -> Iterator[Path]:
    """A directory that every user reaches and may write in."""
    with tempfile.TemporaryDirectory() as name:
        os.chmod(name, 0o777)
        yield Path(name).resolve()


def can_read(file: Path, user: int) -> bool:
    return subprocess.run(["cat", file], user=user, group=user, extra_groups=[], capture_output=True).returncode == 0


def symbolic(trap: Path, victim: Path) -> None:
    trap.symlink_to(victim)


def hard(trap: Path, victim: Path) -> None:
    os.link(victim, trap)


def pipe(trap: Path, victim: Path) -> None:
    os.mkfifo(trap)


def endless(trap: Path, victim: Path) -> None:
    trap.symlink_to("/dev/zero")


def endpoint_file(root: Path) -> str:
    return sorted(each.name for each in (root / WHERE / "eds").glob("*.pb"))[0]


TRAPS: dict[str, Callable[[Path], str]] = {
    "a file on its way": lambda root: f"{WHERE}/cds.pb.new",
    "endpoints on their way": lambda root: f"{WHERE}/eds/{endpoint_file(root)}.new",
    "clusters": lambda root: f"{WHERE}/cds.pb",
    "listeners": lambda root: f"{WHERE}/lds.pb",
    "endpoints": lambda root: f"{WHERE}/eds/{endpoint_file(root)}",
    "endpoints of nobody": lambda root: f"{WHERE}/eds/nobody.pb",
}


@pytest.mark.parametrize("kind", [symbolic, hard, pipe, endless])
@pytest.mark.parametrize("trap", TRAPS)
def test_what_stands_in_a_files_place_is_replaced_and_what_it_led_to_stays(
    trap: str, kind: Callable[[Path, Path], None], store: Remote, root: Path, clock: Clock, published: Publisher
) -> None:
    victim = root.parent / "victim"
    victim.write_bytes(VICTIM)
    victim.chmod(0o644)
    first = Node(store, root, clock, operations=FileOperations())
    first.adapter.on_change(first.follower.refresh())
    name = TRAPS[trap](root)
    (root / name).unlink(missing_ok=True)
    kind(root / name, victim)
    published.head(sidecar_plan(), content(["dc2"]))
    published.head(sidecar_plan(service="s3"), content(["dc3"], service="s3"))
    second = Node(store, root, clock, operations=FileOperations(replace(SHARED, group=os.getgid())))
    second.adapter.on_change(second.follower.refresh())
    assert (victim.read_bytes(), stat.S_IMODE(victim.stat().st_mode)) == (VICTIM, 0o644)
    assert (serving(root / WHERE), serving(root / WHERE, "s3")) == ("dc2", "dc3")
    assert not second.adapter.problems()


@pytest.mark.parametrize(
    "part", ["dc1", "dc1/sidecar", "dc1/sidecar/default", "dc1/sidecar/default/s1", "dc1/sidecar/default/s1/eds"]
)
def test_a_directory_that_is_a_link_is_not_written_to_and_that_is_told(
    part: str, store: Remote, root: Path, clock: Clock, published: Publisher
) -> None:
    elsewhere = root.parent / "elsewhere"
    for each in ("sidecar/default/s1/eds", "default/s1/eds"):
        (elsewhere / each).mkdir(parents=True)
    (root / part).parent.mkdir(parents=True)
    (root / part).symlink_to(elsewhere)
    node = Node(store, root, clock, operations=FileOperations())
    node.adapter.on_change(node.follower.refresh())
    assert not [each for each in elsewhere.rglob("*") if each.is_file()]
    (problem,) = node.adapter.problems()[S1]
    assert "it is a symbolic link, which is not followed" in problem
    assert str(root / part) in problem
    # Out of the way, it is made anew without a restart.
    (root / part).unlink()
    clock.now += 10
    node.adapter.on_change(())
    assert serving(root / WHERE) == "dc1"


@pytest.mark.parametrize("kind", [symbolic, hard, pipe])
def test_a_lock_is_taken_of_nothing_but_a_file_of_our_own(kind: Callable[[Path, Path], None], tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_bytes(VICTIM)
    for directory in (tmp_path / "envoys" / OURS, tmp_path / "kept"):
        directory.mkdir(parents=True)
        kind(directory / "lock", victim)
        with pytest.raises(PointsmanError, match=r"lock: cannot be written to: it (is|has)"):
            DirectoryLock(directory)
        with pytest.raises(PointsmanError, match=r"lock: cannot be written to: it (is|has)"):
            Saved(directory, "store")
    assert victim.read_bytes() == VICTIM


def test_what_is_kept_goes_by_no_link_either(store: Remote, tmp_path: Path, published: Publisher) -> None:
    victim, directory = tmp_path / "victim", tmp_path / "kept"
    victim.write_bytes(VICTIM)
    with Saved(directory, "store") as kept:
        Follower(store, [S1], kept=kept).refresh()
        assert kept.flush()
    names = [each.name for each in directory.glob("*.kept")]
    assert len(names) == 3
    for each in [*names, "seen.json"]:
        (directory / f"{each}.new").symlink_to(victim)
    (directory / names[0]).unlink()
    (directory / names[0]).symlink_to(victim)
    with Saved(directory, "store") as kept:
        Follower(store, [S1], kept=kept).refresh()
        assert kept.flush()
    assert victim.read_bytes() == VICTIM
    assert all((directory / each).read_bytes().startswith(b'{"') for each in [*names, "seen.json"])
    assert not list(directory.glob("*.new"))


@as_root
def test_a_link_of_somebody_elses_is_refused_and_ones_own_is_not(place: Path, tmp_path: Path) -> None:
    for owner in (0, SOMEBODY, SOMEBODY_ELSE):
        link = place / f"of-{owner}"
        link.symlink_to(place / "envoys")
        os.lchown(link, owner, owner)
    with acting_as(SOMEBODY):
        for owner in (0, SOMEBODY):
            assert without_links(place / f"of-{owner}" / "below") == place / "envoys" / "below"
        for name in ("", "below"):
            for opening in (without_links, DirectoryLock, lambda path: Saved(path, "store")):
                with pytest.raises(PointsmanError, match=f"of-{SOMEBODY_ELSE} is a symbolic link of the user"):
                    opening(place / f"of-{SOMEBODY_ELSE}" / name)
    loop = tmp_path / "loop"
    loop.symlink_to(loop)
    with pytest.raises(PointsmanError, match="symbolic links"):
        without_links(loop)


@as_root
@pytest.mark.parametrize("umask", [0o000, 0o022, 0o077, 0o277])
def test_whatever_the_umask_envoys_group_may_read_files_and_nobody_what_is_kept(
    umask: int, place: Path, store: Remote, clock: Clock, published: Publisher
) -> None:
    before = os.umask(umask)
    try:
        with acting_as(SOMEBODY, ENVOY):
            root = shared_directory(place / "new" / "envoys", read_group(str(ENVOY)))
            lock = DirectoryLock(root / OURS)
            kept = Saved(root / OURS / "kept", "store")
            operations = FileOperations(replace(SHARED, group=ENVOY), root)
            node = Node(store, root, clock, operations=operations, kept=kept)
        changed = node.follower.refresh()
        with acting_as(SOMEBODY, ENVOY):
            node.adapter.on_change(changed)
            assert kept.flush()
    finally:
        os.umask(before)
    assert lock.path.exists()
    assert (serving(root / WHERE), len([*root.rglob("*.kept")])) == ("dc1", 3)
    for path in [root, *root.rglob("*")]:
        found, ours = path.stat(), OURS in path.parts
        wanted = PRIVATE if ours else SHARED
        assert stat.S_IMODE(found.st_mode) == (wanted.directory_mode if path.is_dir() else wanted.mode), path
        assert (found.st_uid, found.st_gid) == (SOMEBODY, SOMEBODY if ours else ENVOY), path
        if path.is_file():
            assert can_read(path, ENVOY) != ours
            assert not can_read(path, SOMEBODY_ELSE)


@as_root
def test_files_that_are_there_are_given_to_a_group_that_is_named_later(
    place: Path, store: Remote, clock: Clock, published: Publisher
) -> None:
    with acting_as(SOMEBODY, ENVOY):
        root = shared_directory(place / "envoys", None)
        first = Node(store, root, clock, operations=FileOperations(SHARED, root))
    changed = first.follower.refresh()
    with acting_as(SOMEBODY, ENVOY):
        first.adapter.on_change(changed)
        files = [each for each in root.rglob("*") if each.is_file()]
        written = {each: each.stat().st_mtime_ns for each in files}
    assert files
    assert not any(can_read(each, ENVOY) for each in files)
    with acting_as(SOMEBODY, ENVOY):
        assert shared_directory(root, ENVOY) == root
        second = Node(store, root, clock, operations=FileOperations(replace(SHARED, group=ENVOY), root))
    changed = second.follower.refresh()
    with acting_as(SOMEBODY, ENVOY):
        second.adapter.on_change(changed)
    assert all(can_read(each, ENVOY) for each in files)
    assert {each: each.stat().st_mtime_ns for each in files} == written
    assert not any(can_read(each, SOMEBODY_ELSE) for each in files)
    # A directory that is everybody's stays so: it is not ours to close.
    os.chmod(place, 0o777)
    shared_directory(place, ENVOY)
    assert (stat.S_IMODE(place.stat().st_mode), place.stat().st_gid) == (0o777, os.getgid())


@as_root
def test_what_another_user_put_there_is_not_believed(
    place: Path, store: Remote, clock: Clock, published: Publisher
) -> None:
    root, directory = place / "envoys", place / "kept"
    node = Node(store, root, clock, operations=FileOperations())
    node.adapter.on_change(node.follower.refresh())
    with Saved(directory, "store") as kept:
        Follower(store, [S1], kept=kept).refresh()
    for file in [*root.rglob("*.pb"), *directory.glob("*.kept")]:
        os.chown(file, SOMEBODY_ELSE, SOMEBODY_ELSE)
    assert not Saved(directory, "store").proxies()
    Node(store, root, clock, operations=FileOperations()).adapter.on_change({S1})
    again = Node(store, root, clock, operations=FileOperations())
    again.adapter.on_change(again.follower.refresh())
    assert {each.stat().st_uid for each in root.rglob("*.pb")} == {0}


@as_root
def test_a_group_that_files_cannot_be_given_to_is_refused() -> None:
    with acting_as(SOMEBODY), pytest.raises(InvalidInput, match="who is not in the group"):
        read_group(str(ENVOY))
    for unknown in ("no-such-group", "9" * 5000, "-1"):
        with pytest.raises(InvalidInput, match="there is no group"):
            read_group(unknown)


@as_root
def test_who_may_not_read_the_key_may_not_read_what_is_made_of_it(place: Path, tmp_path: Path) -> None:
    identity = CertificateAuthority(tmp_path, "mesh.example").issue("s1", "dc1")
    victim = tmp_path / "victim"
    victim.write_bytes(VICTIM)
    key = place / "key.pem"
    key.write_bytes(identity.private_key.read_bytes())
    os.chown(key, 0, ENVOY)
    certificate, ca = place / "certificate.pem", place / "ca.pem"
    certificate.write_bytes(identity.certificate.read_bytes())
    ca.write_bytes(identity.ca.read_bytes())
    files = SecretFiles(str(certificate), str(key), str(ca))
    # As root; as a member of the key's group; with a key that all may read, but its group cannot be given the copy.
    for user, groups, mode, readers in (
        (0, (), 0o640, {ENVOY}),
        (0, (), 0o600, set()),
        (SOMEBODY, (ENVOY,), 0o640, {SOMEBODY, ENVOY}),
        (SOMEBODY, (), 0o644, {SOMEBODY}),
    ):
        key.chmod(mode)
        directory = place / f"{user}-{mode:o}"
        with acting_as(user, *groups) if user else contextlib.nullcontext():
            directory.mkdir()
            (directory / "identity.yaml.new").symlink_to(victim)
            (directory / "trust.yaml").symlink_to(victim)
        directory.chmod(0o755)
        with acting_as(user, *groups) if user else contextlib.nullcontext():
            assert len(write_sds_files(files, SdsFiles(str(directory)))) == 2
            assert write_sds_files(files, SdsFiles(str(directory))) == []
        found = {each for each in (SOMEBODY, SOMEBODY_ELSE, ENVOY) if can_read(directory / "identity.yaml", each)}
        assert found == readers, (user, groups, oct(mode))
        assert victim.read_bytes() == VICTIM


def test_a_file_that_is_too_large_is_not_read(
    store: Remote, root: Path, clock: Clock, published: Publisher, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(access, "MOST_FILE_BYTES", 100_000)
    (root / WHERE).mkdir(parents=True)
    with (root / WHERE / "cds.pb").open("wb") as file:
        file.truncate(100_001)
    node = Node(store, root, clock, operations=FileOperations())
    node.adapter.on_change(node.follower.refresh())
    assert serving(root / WHERE) == "dc1"
