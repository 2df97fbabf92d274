"""Read a folder of a repository's archive, as GitHub packs it."""

import hashlib
import zipfile
from pathlib import Path

from common.data import reading


def files_below(path: Path, folder: str) -> dict[str, bytes]:
    """Return the files of a zip archive below `folder`, as "folder/...": contents, sorted by name.

    GitHub puts everything into one more folder, whose name is left out. Raises DataError if the
    archive is corrupt.
    """
    with reading(path), zipfile.ZipFile(path) as archive:
        members = {
            f"{folder}/" + name.rpartition(f"{folder}/")[2]: name
            for name in archive.namelist()
            if f"{folder}/" in name and not name.endswith("/")
        }
        return {name: archive.read(member) for name, member in sorted(members.items())}


def checksum(files: dict[str, bytes]) -> str:
    """Return the SHA-256 of names and contents, in the order of the names.

    GitHub packs its archives anew from time to time, so the archive itself has no fixed one.
    """
    digest = hashlib.sha256()
    for name, content in sorted(files.items()):
        digest.update(name.encode() + b"\0" + content)
    return digest.hexdigest()
