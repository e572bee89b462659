"""Directories that others may write in as well: nothing here follows a link that they could have put there."""

import errno
import grp
import os
import pwd
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from pointsman.model.errors import InvalidInput, PointsmanError

MOST_FILE_BYTES = 256 * 1024 * 1024
"""Of a file that is read. The clusters of a mesh gateway with 5,000 of them have 20 MB."""

MOST_LINKS = 40
"""Symbolic links on the way to one directory, as Linux has it."""

_MOST_DIGITS = 9

# Search permission is all that a directory on the way has to give.
_STEP = getattr(os, "O_PATH", os.O_RDONLY) | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_LIST = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
# A pipe that somebody put in a file's place is opened at once, and then refused.
_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


@dataclass(frozen=True, slots=True)
class Access:
    """The modes of files and directories that are made, whatever the umask, and whom they are given to: None, they
    are the process's own."""

    mode: int
    directory_mode: int
    group: int | None = None
    owner: int | None = None

    def give(self, fd: int, mode: int) -> None:
        """Give what is open as `fd` the owner, the group and this mode. Raises OSError."""
        if self.owner is not None or self.group is not None:
            os.fchown(fd, -1 if self.owner is None else self.owner, -1 if self.group is None else self.group)
        os.fchmod(fd, mode)


PRIVATE = Access(0o600, 0o700)
"""For this user alone."""

SHARED = Access(0o640, 0o750)
"""For the group to read: an Envoy's, if it is given to that."""


class NotOurs(OSError):
    """What stands in a file's place is none that this process, or root, has put there."""


def read_group(text: str, option: str = "--group") -> int | None:
    """The number of a group from its name or number; None from "". Raises InvalidInput."""
    if not text:
        return None
    try:
        group = int(text) if text.isdecimal() and len(text) <= _MOST_DIGITS else grp.getgrnam(text).gr_gid
    except KeyError:
        raise InvalidInput.single(option, "", f'there is no group "{text}" on this machine') from None
    if os.geteuid() != 0 and group not in (os.getegid(), *os.getgroups()):
        reason = f'this process runs as "{_name(os.geteuid())}", who is not in the group "{text}"'
        raise InvalidInput.single(option, "", f"{reason} and cannot give it files; make them a member, or run as root")
    return group


def shared_directory(root: Path, group: int | None) -> Path:
    """`root`, without links and there; if others cannot enter it, it is given to `group`. Raises PointsmanError."""
    root = without_links(root)
    try:
        make_directory(root, replace(SHARED, group=group), root)
    except OSError as error:
        raise PointsmanError(f"{error.filename}: cannot be written to: {error.strerror}") from None
    return root


def without_links(path: Path) -> Path:
    """`path`, absolute and without symbolic links; it need not be there.

    Raises PointsmanError where a link on the way belongs to somebody else than this user and root: whoever made it
    could point it elsewhere (https://docs.kernel.org/admin-guide/sysctl/fs.html, protected_symlinks).
    """
    at, rest, links = Path("/"), [*reversed(path.absolute().parts[1:])], 0
    while rest:
        part = rest.pop()
        if part == "..":
            at = at.parent
            continue
        here = at / part
        try:
            found = os.lstat(here)
        except FileNotFoundError:
            return Path(os.path.normpath(here.joinpath(*reversed(rest))))
        except OSError as error:
            raise PointsmanError(f"{here}: {error.strerror}") from None
        if not stat.S_ISLNK(found.st_mode):
            at = here
            continue
        links += 1
        if not _is_trusted(found.st_uid):
            reason = f"{here} is a symbolic link of the user {_name(found.st_uid)}, who could point it elsewhere"
            raise PointsmanError(f"{path}: {reason}; name a directory without one")
        if links > MOST_LINKS:
            raise PointsmanError(f"{path}: more than {MOST_LINKS} symbolic links")
        target = Path(os.readlink(here))
        at = Path("/") if target.is_absolute() else at
        rest += reversed(target.parts[1:] if target.is_absolute() else target.parts)
    return at


@contextmanager
def opened(directory: Path, *, to_list: bool = False) -> Iterator[int]:
    """A descriptor of `directory`, which is absolute, for what is done in it; `to_list`: to list and sync it as well.

    Raises OSError, also where a link stands anywhere on the way.
    """
    fd = os.open("/", _STEP)
    try:
        parts = directory.parts[1:]
        for number, part in enumerate(parts):
            with about(directory.parents[len(parts) - number - 1] / part):
                fd = _into(fd, part)
        if to_list:
            fd = _into(fd, ".", _LIST)
        yield fd
    finally:
        os.close(fd)


def make_directory(directory: Path, access: Access, top: Path | None = None) -> None:
    """Make `directory` and what is missing on the way. Raises OSError, also for links on the way.

    Directories from `top` on that are there, are this user's and keep others out are given to the group as well: those
    that were made before there was one.
    """
    fd, at = os.open("/", _STEP), Path("/")
    try:
        for part in directory.parts[1:]:
            at /= part
            with about(at):
                try:
                    os.mkdir(part, 0o700, dir_fd=fd)
                    made = True
                except FileExistsError:
                    made = False
                fd = _into(fd, part)
                if made or (top is not None and at.is_relative_to(top)):
                    _share(fd, access, made)
    finally:
        os.close(fd)


def open_file(directory: Path, name: str) -> int:
    """A descriptor of a file in `directory` to write in, which is made if it is not there. Raises OSError."""
    flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    with opened(directory) as at, about(directory / name):
        fd = os.open(name, flags, PRIVATE.mode, dir_fd=at)
        try:
            if _check(fd, directory / name).st_uid == os.geteuid():
                os.fchmod(fd, PRIVATE.mode)
        except BaseException:
            os.close(fd)
            raise
        return fd


def read_file(path: Path, access: Access) -> bytes:
    """What stands in a file; one that was written before there was a group is given to it.

    Raises FileNotFoundError, NotOurs for a link, a pipe, another user's file or one of more than `MOST_FILE_BYTES`, and
    OSError.
    """
    with opened(path.parent) as at, about(path):
        fd = os.open(path.name, _READ, dir_fd=at)
        with open(fd, "rb") as file:
            found = _check(fd, path)
            if found.st_size > MOST_FILE_BYTES:
                raise NotOurs(errno.EFBIG, f"it has more than {MOST_FILE_BYTES} bytes", str(path))
            if access.group not in (None, found.st_gid) and found.st_uid == os.geteuid():
                access.give(fd, access.mode)
            return file.read(MOST_FILE_BYTES)


def _check(fd: int, path: Path) -> os.stat_result:
    """Refuse what is not a file of this user, or root's, that has one name."""
    found = os.fstat(fd)
    if not stat.S_ISREG(found.st_mode):
        raise NotOurs(errno.EINVAL, "it is no file", str(path))
    if not _is_trusted(found.st_uid):
        raise NotOurs(errno.EPERM, f"it belongs to the user {_name(found.st_uid)}", str(path))
    if found.st_nlink != 1:
        raise NotOurs(errno.EMLINK, f"it has {found.st_nlink} names, and may be another file as well", str(path))
    return found


def _share(fd: int, access: Access, made: bool) -> None:
    with _reopened(fd) as directory:
        found = os.fstat(directory)
        if found.st_uid != os.geteuid():
            return
        mode = stat.S_IMODE(found.st_mode)
        if made:
            access.give(directory, access.directory_mode)
        elif access.group not in (None, found.st_gid) and not mode & stat.S_IXOTH:
            access.give(directory, mode | access.directory_mode)


@contextmanager
def _reopened(fd: int) -> Iterator[int]:
    directory = os.open(".", _LIST, dir_fd=fd)
    try:
        yield directory
    finally:
        os.close(directory)


def _into(fd: int, name: str, flags: int = _STEP) -> int:
    """The descriptor of a directory in that of `fd`, which is closed."""
    deeper = os.open(name, flags, dir_fd=fd)
    os.close(fd)
    return deeper


@contextmanager
def about(path: Path) -> Iterator[None]:
    """Errors name the whole path, and say of a link that it is one."""
    try:
        yield
    except NotOurs:
        raise
    except OSError as error:
        if error.errno == errno.ELOOP or (error.errno == errno.ENOTDIR and path.is_symlink()):
            raise NotOurs(errno.ELOOP, "it is a symbolic link, which is not followed", str(path)) from None
        raise OSError(error.errno, error.strerror, str(path)) from None


def _is_trusted(user: int) -> bool:
    return user in (0, os.geteuid())


def _name(user: int) -> str:
    try:
        return pwd.getpwuid(user).pw_name
    except KeyError:
        return str(user)
