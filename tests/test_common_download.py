"""Downloads against a server on this machine that misbehaves on demand."""

import hashlib
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from common.download import DataError, fetch

CONTENT = bytes(range(256)) * 4
MD5 = hashlib.md5(CONTENT).hexdigest()


class Handler(BaseHTTPRequestHandler):
    """Serves what the path begins with: good, whole (no ranges), cut (300 bytes at a time), wrong; else status 404."""

    def do_GET(self):
        kind, wanted = self.path.split("/")[1], self.headers.get("Range")
        self.server.ranges.append(wanted)
        content, begin = CONTENT, int(wanted[6:-1]) if wanted and kind != "whole" else 0
        if kind not in ("good", "whole", "cut", "wrong") or (begin and begin >= len(CONTENT)):
            self.send_error(416 if begin else 404)
            return
        if kind == "wrong":
            content = CONTENT[::-1]
        self.send_response(206 if begin else 200)
        self.send_header("Content-Length", str(len(content) - begin))
        self.end_headers()
        self.wfile.write(content[begin : begin + 300] if kind == "cut" else content[begin:])

    def log_message(self, *arguments):
        pass


@pytest.fixture
def server():
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.ranges = []
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    server.url = lambda kind: f"http://127.0.0.1:{server.server_port}/{kind}/set.bin"
    yield server
    server.shutdown()
    server.server_close()


@pytest.fixture
def target(tmp_path):
    return tmp_path / "data" / "set.bin"


@pytest.fixture
def part(target):
    target.parent.mkdir()
    return target.with_name("set.bin.part")


def test_a_download_arrives_whole_and_leaves_no_part(server, target):
    fetch([server.url("good")], target, MD5)
    assert target.read_bytes() == CONTENT
    assert [path.name for path in target.parent.iterdir()] == ["set.bin"]


def test_an_intact_file_is_not_fetched_again(server, target):
    target.parent.mkdir()
    target.write_bytes(CONTENT)
    fetch([server.url("good")], target, MD5)
    assert server.ranges == []


@pytest.mark.parametrize("bad", ["wrong", "missing"])
def test_the_next_mirror_is_tried(server, target, bad):
    fetch([server.url(bad), server.url("good")], target, MD5)
    assert target.read_bytes() == CONTENT


def test_an_interrupted_download_resumes_from_another_mirror(server, target):
    with pytest.raises(DataError, match="set.bin could not be downloaded .*closed early"):
        fetch([server.url("cut")], target, MD5)
    assert not target.exists()
    have = target.with_name("set.bin.part").stat().st_size
    assert 0 < have < len(CONTENT)
    fetch([server.url("good")], target, MD5)
    assert server.ranges[-1] == f"bytes={have}-"
    assert target.read_bytes() == CONTENT


def test_a_server_without_ranges_starts_over(server, target, part):
    part.write_bytes(CONTENT[:100])
    fetch([server.url("whole")], target, MD5)
    assert target.read_bytes() == CONTENT
    assert server.ranges == ["bytes=100-"], "one request is enough"


@pytest.mark.parametrize("rubbish", [b"x" * 100, b"x" * 5000, CONTENT + b"x"])
def test_a_bad_part_is_thrown_away(server, target, part, rubbish):
    part.write_bytes(rubbish)
    fetch([server.url("good")], target, MD5)
    assert target.read_bytes() == CONTENT


def test_a_complete_part_is_taken_as_it_is(server, target, part):
    part.write_bytes(CONTENT)
    fetch([server.url("good")], target, MD5)
    assert target.read_bytes() == CONTENT


def test_wrong_content_everywhere_is_an_error_and_leaves_nothing(server, target):
    with pytest.raises(DataError, match="checksum differs"):
        fetch([server.url("wrong")], target, MD5)
    assert list(target.parent.iterdir()) == []


def test_the_message_names_file_folder_reason_and_quick_mode(server, target):
    with pytest.raises(DataError) as caught:
        fetch([server.url("missing"), "http://127.0.0.1:9/set.bin"], target, MD5)
    for words in ("set.bin", str(target.parent), MD5, "HTTP status 404", "127.0.0.1:9", "DL_MODE=quick"):
        assert words in str(caught.value)


def test_a_folder_that_cannot_be_written_is_named(server, tmp_path):
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(DataError, match="Cannot write to .*Set DL_DATA to another folder"):
        fetch([server.url("good")], tmp_path / "file" / "set.bin", MD5)
