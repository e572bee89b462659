"""Safe access to directories that others may write to as well: no function here follows a link that another user could
have placed."""

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
"""Bytes of a file that is read. A mesh gateway with 5,000 clusters has 20 MB of them."""

MOST_LINKS = 40
"""Symbolic links on the way to one directory, the same limit as Linux's."""

_MOST_DIGITS = 9

# Search permission is enough for the directories on the way.
_STEP = getattr(os, "O_PATH", os.O_RDONLY) | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_LIST = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
# Non-blocking: a pipe in a file's place opens at once, and is then refused.
_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


@dataclass(frozen=True, slots=True)
class Access:
    """The modes of new files and directories, whatever the umask, and their owner and group; None: the process's
    own."""

    mode: int
    directory_mode: int
    group: int | None = None
    owner: int | None = None

    def give(self, fd: int, mode: int) -> None:
        """Set the owner, the group and this mode on the open file `fd`. Raises OSError."""
        if self.owner is not None or self.group is not None:
            os.fchown(fd, -1 if self.owner is None else self.owner, -1 if self.group is None else self.group)
        os.fchmod(fd, mode)


PRIVATE = Access(0o600, 0o700)
"""Readable by this user alone."""

SHARED = Access(0o640, 0o750)
"""Also readable by the group, for instance an Envoy's."""


class NotOurs(OSError):
    """The file was not put there by this user or root."""


def read_group(text: str, option: str = "--group") -> int | None:
    """The number of a group, from its name or number; None from "". Raises InvalidInput."""
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
    """`root` without links, created if missing. If others cannot enter it, it is given to `group`. Raises
    PointsmanError."""
    root = without_links(root)
    try:
        make_directory(root, replace(SHARED, group=group), root)
    except OSError as error:
        raise PointsmanError(f"{error.filename}: cannot be written to: {error.strerror}") from None
    return root


def without_links(path: Path) -> Path:
    """`path`, absolute and without symbolic links; it need not exist.

    Raises PointsmanError if a link on the way belongs to a user other than this one and root, who could point it
    elsewhere (https://docs.kernel.org/admin-guide/sysctl/fs.html, protected_symlinks).
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
    """A descriptor of `directory` (absolute) for work inside it; with `to_list` also for listing and syncing it.

    Raises OSError, also for a link anywhere on the way.
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
    """Create `directory` and its missing parents. Raises OSError, also for links on the way.

    Existing directories from `top` down that belong to this user and exclude others are given to the group as well:
    they may be older than the group option.
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
    """A descriptor for writing a file in `directory`, created if missing. Raises OSError."""
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
    """The content of a file. A file older than the group option is given to the group.

    Raises FileNotFoundError; NotOurs for a link, a pipe, another user's file or more than `MOST_FILE_BYTES`; OSError.
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
    """Raise NotOurs unless `fd` is a regular file of this user or root, with one name."""
    found = os.fstat(fd)
    if not stat.S_ISREG(found.st_mode):
        raise NotOurs(errno.EINVAL, "it is not a regular file", str(path))
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
    """A descriptor of the directory `name` in `fd`, which is closed."""
    deeper = os.open(name, flags, dir_fd=fd)
    os.close(fd)
    return deeper


@contextmanager
def about(path: Path) -> Iterator[None]:
    """Makes errors name the whole path, and say if it is a link."""
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
