"""Fetch one file from a list of mirrors: checked, resumable, never half-written under its final name."""

import hashlib
import http.client
import urllib.error
import urllib.request
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import urlsplit

from common.progress import progress


class DataError(RuntimeError):
    """A data set is missing, corrupt or cannot be fetched; the message says what to do."""


def md5(path: Path) -> str:
    """Return the MD5 digest of a file, as hexadecimal digits."""
    digest = hashlib.md5(usedforsecurity=False)
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def _transfer(url: str, part: Path, timeout: float) -> None:
    """Append to `part` what is missing of `url`; start over if the server does not resume."""
    have = part.stat().st_size if part.exists() else 0
    request = urllib.request.Request(url, headers={"Range": f"bytes={have}-"} if have else {})
    with urllib.request.urlopen(request, timeout=timeout) as response:
        resumed = response.status == 206
        have = have if resumed else 0
        total = have + int(response.headers.get("Content-Length", 0))
        with part.open("ab" if resumed else "wb") as file:
            bar = progress(None, f"downloading {part.stem}", total=total or None)
            bar.unit, bar.unit_scale = "B", True
            bar.update(have)
            while block := response.read(1 << 18):
                file.write(block)
                bar.update(len(block))
            bar.close()
    if total and part.stat().st_size < total:
        raise OSError("the connection was closed early")


def fetch(urls: Sequence[str], target: Path, digest: str, timeout: float = 30) -> None:
    """Bring `target` here from the first mirror that delivers it with the MD5 `digest`.

    An interrupted download stays in `target.part` and is taken up again, also from another mirror. Nothing is
    done if `target` is there and intact. `timeout` is in seconds, for each wait on the network.

    Raises DataError if no mirror delivers, or if the folder cannot be written.
    """
    if target.exists() and md5(target) == digest:
        return
    part = target.with_name(target.name + ".part")
    by_hand = f"Put {target.name} into {target.parent} by hand (MD5 {digest}), or set DL_MODE=quick."
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        part.open("ab").close()
    except OSError as error:
        raise DataError(f"Cannot write to {target.parent} ({error}). Set DL_DATA to another folder.") from error
    failures = []
    for url in [url for url in urls for _ in range(2)]:  # the second try starts over if a resumed file was bad
        try:
            _transfer(url, part, timeout)
            if md5(part) == digest:
                part.replace(target)
                return
            failure = "its checksum differs"
            part.unlink()
        except urllib.error.HTTPError as error:
            failure = f"HTTP status {error.code}"
            if error.code == 416:  # the part is longer than the file
                part.unlink()
        except (OSError, http.client.HTTPException) as error:
            failure = str(getattr(error, "reason", error))
        failures.append(f"{urlsplit(url).netloc}: {failure}")
    if part.exists() and not part.stat().st_size:
        part.unlink()
    reasons = "; ".join(dict.fromkeys(failures))
    raise DataError(f"{target.name} could not be downloaded ({reasons}). {by_hand}")
