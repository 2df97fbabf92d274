"""Fetch every data set from every one of its mirrors and check its MD5 sum: python -m tools.mirrors

Nothing is kept. It takes minutes, or an hour where a mirror is slow. The exit status is 1 if a mirror fails.
"""

import sys
import tempfile
import time
from pathlib import Path

from common import data
from common.download import DataError, fetch


def addresses() -> dict[str, str]:
    """Return the address of each file on each mirror with the file's MD5 sum."""
    found = {url + name + ".gz": packed for url in data.MNIST_URLS for name, (packed, _) in data.MNIST_FILES.items()}
    found |= dict.fromkeys(data.CIFAR10_URLS, data.CIFAR10_MD5)
    return found | dict.fromkeys(data.SHAKESPEARE_URLS, data.SHAKESPEARE_MD5)


def main(found: dict[str, str] | None = None) -> int:
    """Fetch each address and print one line for it; return the exit status."""
    failed = 0
    for url, digest in (addresses() if found is None else found).items():
        begin = time.perf_counter()
        with tempfile.TemporaryDirectory() as folder:
            try:
                fetch([url], Path(folder) / url.rpartition("/")[2], digest)
                said = f"ok, {time.perf_counter() - begin:.0f} s"
            except DataError as error:
                said, failed = f"FAILED: {str(error).partition(' Put ')[0]}", failed + 1
        print(f"{url}: {said}", flush=True)
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main())
