"""Downloads from a real HTTP server on the loopback interface, well-behaved and not."""

import contextlib
import errno
import gzip
import hashlib
import io
import json
import os
import runpy
import shutil
import subprocess
import sys
import tarfile
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import requests
import torch

from metad2a.core.errors import UserError
from metad2a.data import download
from metad2a.data.download import RAW_DATA, PublishedFile, fetch, fetch_all, files_of

ROOT = Path(__file__).parents[1]


class Server:
    """Serves `content` under every path; `plan` lists how the next answers go wrong."""

    def __init__(self):
        self.content, self.plan, self.requests = b"", [], []
        self.content_type, self.etag, self.delay = "application/octet-stream", '"v1"', 0.0
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *args):
                pass

            def do_GET(self):
                outer.answer(self)

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.http.handle_error = lambda *args: None  # clients that hang up are part of the tests
        self.address = f"http://127.0.0.1:{self.http.server_port}"
        self.thread = threading.Thread(target=self.http.serve_forever, daemon=True)
        self.thread.start()

    def answer(self, handler):
        self.requests.append((handler.path, dict(handler.headers)))
        fault = self.plan.pop(0) if self.plan else None
        if isinstance(fault, int):
            handler.send_error(fault)
            return
        start, asked = 0, handler.headers.get("Range")
        resumed = asked is not None and handler.headers.get("If-Range") == self.etag
        if resumed:
            start = int(asked.removeprefix("bytes=").removesuffix("-"))
        body = self.content[start:]
        length = len(body)
        if fault == "wrong length":
            length += 10
        handler.send_response(206 if resumed else 200)
        if resumed:
            handler.send_header("Content-Range", f"bytes {start}-{len(self.content) - 1}/{len(self.content)}")
        handler.send_header("Content-Type", self.content_type)
        handler.send_header("Content-Length", str(length))
        if self.etag:
            handler.send_header("ETag", self.etag)
        handler.end_headers()
        self.send(handler, body[: len(body) // 2] if fault == "cut" else body)
        if fault in ("cut", "wrong length"):
            handler.close_connection = True

    def send(self, handler, body):
        with contextlib.suppress(OSError):
            for i in range(0, len(body), 4096):
                handler.wfile.write(body[i : i + 4096])
                if self.delay:
                    handler.wfile.flush()
                    time.sleep(self.delay)


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setattr(download, "BACK_OFF", 0.01)
    server = Server()
    yield server
    server.http.shutdown()
    server.http.server_close()


def torch_bytes(seed=0, n=100_000):
    buffer = io.BytesIO()
    torch.save({0: [torch.randn(n, generator=torch.Generator().manual_seed(seed))]}, buffer)
    return buffer.getvalue()


def entry(server, **changes):
    values = {"name": "toy", "address": f"{server.address}/toy.pt?dl=1", "target": "data/toy.pt", "needed_by": "x"}
    return PublishedFile(**{**values, **changes})


def left_over():
    return sorted(str(path) for path in Path("data").rglob("*") if path.is_file() and path.suffix in (".part", ".json"))


def test_a_file_arrives(server, capsys):
    server.content = torch_bytes()
    path = fetch(entry(server, md5=hashlib.md5(server.content).hexdigest()))
    assert path == Path("data/toy.pt")
    assert path.read_bytes() == server.content
    assert left_over() == []
    fetch(entry(server))
    assert len(server.requests) == 1
    assert "there and whole" in capsys.readouterr().err


def test_a_slow_server(server):
    server.content, server.delay = torch_bytes(), 0.01
    assert fetch(entry(server)).read_bytes() == server.content


def test_cut_off_in_the_middle_then_resumed(server):
    server.content, server.plan = torch_bytes(), ["cut"]
    assert fetch(entry(server)).read_bytes() == server.content
    assert "Range" not in server.requests[0][1]
    start = int(server.requests[1][1]["Range"].removeprefix("bytes=").removesuffix("-"))
    assert len(server.content) // 2 - download.NETWORK_CHUNK <= start <= len(server.content) // 2


def test_cut_off_again_and_again_but_growing(server):
    server.content, server.plan = torch_bytes(), ["cut"] * 3
    assert fetch(entry(server)).read_bytes() == server.content
    assert len(server.requests) == 4


def test_resumed_by_a_later_command(server):
    server.content, server.plan = torch_bytes(), ["cut", 404]
    with pytest.raises(UserError, match="404"):
        fetch(entry(server))
    assert 0 < Path("data/toy.pt.part").stat().st_size <= len(server.content) // 2
    assert fetch(entry(server)).read_bytes() == server.content
    assert "Range" in server.requests[-1][1]


def test_a_file_that_changed_on_the_server_is_not_stitched(server):
    server.content, server.plan = torch_bytes(0), ["cut", 404]
    with pytest.raises(UserError):
        fetch(entry(server))
    server.content, server.etag = torch_bytes(1), '"v2"'
    assert fetch(entry(server)).read_bytes() == server.content


def test_a_server_that_cannot_resume(server):
    server.content, server.plan, server.etag = torch_bytes(), ["cut"], None
    assert fetch(entry(server)).read_bytes() == server.content
    assert "Range" not in server.requests[1][1]


@pytest.mark.parametrize("status", [404, 403, 410])
def test_a_file_that_is_gone(server, status):
    server.plan = [status]
    with pytest.raises(UserError, match=str(status)) as error:
        fetch(entry(server))
    assert "put it at data/toy.pt" in str(error.value)
    assert "--mirror" in str(error.value)
    assert len(server.requests) == 1
    assert not Path("data/toy.pt").exists()


@pytest.mark.parametrize("status", [500, 503, 429])
def test_a_server_in_trouble_then_fine(server, status):
    server.content, server.plan = torch_bytes(), [status, status]
    assert fetch(entry(server)).read_bytes() == server.content


def test_a_server_in_lasting_trouble(server):
    server.plan = [500] * 20
    with pytest.raises(UserError, match="500"):
        fetch(entry(server))
    assert len(server.requests) == download.MAX_FAILURES


def test_no_server():
    file = PublishedFile("toy", "http://127.0.0.1:9/toy.pt", "data/toy.pt", "x")
    download_back_off, download.BACK_OFF = download.BACK_OFF, 0.001
    try:
        with pytest.raises(UserError, match="by hand"):
            fetch(file)
    finally:
        download.BACK_OFF = download_back_off


def test_wrong_length(server):
    server.content, server.plan = torch_bytes(), ["wrong length"] * 20
    with pytest.raises(UserError):
        fetch(entry(server))
    assert not Path("data/toy.pt").exists()


@pytest.mark.parametrize("digest", ["1" * 32, "096897"])
def test_wrong_checksum(server, digest):
    server.content = torch_bytes()
    with pytest.raises(UserError, match="md5"):
        fetch(entry(server, md5=digest))
    assert not Path("data/toy.pt").exists()
    assert left_over() == []
    assert len(server.requests) == download.MAX_DAMAGES


@pytest.mark.parametrize("content_type", ["text/html; charset=utf-8", "application/octet-stream"])
def test_html_instead_of_data(server, content_type):
    server.content, server.content_type = b"<!DOCTYPE html><html>Sign in</html>", content_type
    with pytest.raises(UserError, match="HTML page"):
        fetch(entry(server))
    assert not Path("data/toy.pt").exists()


@pytest.mark.parametrize("content", [b"", b"hello", b"PK\x03\x04 and no more"])
def test_content_that_is_no_pytorch_file(server, content):
    server.content = content
    with pytest.raises(UserError, match="damaged"):
        fetch(entry(server))
    assert not Path("data/toy.pt").exists()


def test_a_flipped_bit_is_found_without_a_checksum(server):
    content = bytearray(torch_bytes())
    content[len(content) // 2] ^= 1
    server.content = bytes(content)
    with pytest.raises(UserError, match="damaged"):
        fetch(entry(server))


def test_a_good_file_is_never_lost(server):
    """A copy put in place by hand stays; a damaged one is replaced when the new one is whole, and not before."""
    Path("data").mkdir()
    good = torch_bytes(5)
    Path("data/toy.pt").write_bytes(good)
    server.content = torch_bytes(0)
    assert fetch(entry(server)).read_bytes() == good
    Path("data/toy.pt").write_bytes(good[:1000])
    server.plan = [404]
    with pytest.raises(UserError):
        fetch(entry(server))
    assert Path("data/toy.pt").read_bytes() == good[:1000]
    assert fetch(entry(server)).read_bytes() == server.content


def test_no_space(server, monkeypatch):
    server.content = torch_bytes()

    def full(*args, **kwargs):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(download, "_write_body", full)
    with pytest.raises(UserError, match="No space left"):
        fetch(entry(server))
    assert not Path("data/toy.pt").exists()


def test_no_space_on_a_real_device(server):
    """/dev/full takes no byte: the partial file leads there."""
    if not Path("/dev/full").exists():
        pytest.skip("this system has no /dev/full")
    server.content = torch_bytes()
    Path("data").mkdir()
    Path("data/toy.pt.part").symlink_to("/dev/full")
    with pytest.raises(UserError, match="No space left"):
        fetch(entry(server))
    assert not Path("data/toy.pt").exists()


def test_no_permission(server):
    server.content = torch_bytes()
    Path("data").write_text("a file where the folder should be")
    with pytest.raises(UserError, match=r"data/toy\.pt cannot be written"):
        fetch(entry(server))


def test_a_mirror_has_the_same_paths(server):
    server.content = torch_bytes()
    fetch(entry(server, address="http://nowhere.invalid/x"), mirror=f"{server.address}/copy/")
    assert server.requests[0][0] == "/copy/data/toy.pt"


def test_a_folder_as_mirror(tmp_path):
    mirror = tmp_path / "mirror" / "data"
    mirror.mkdir(parents=True)
    (mirror / "toy.pt").write_bytes(torch_bytes())
    file = PublishedFile("toy", "http://nowhere.invalid/x", "data/toy.pt", "x")
    assert fetch(file, mirror=str(tmp_path / "mirror")).read_bytes() == torch_bytes()
    (mirror / "toy.pt").write_bytes(torch_bytes()[:100])
    assert fetch(file, mirror=str(tmp_path / "mirror")).read_bytes() == torch_bytes()
    Path("data/toy.pt").unlink()
    with pytest.raises(UserError, match="damaged"):
        fetch(file, mirror=str(tmp_path / "mirror"))
    with pytest.raises(UserError, match="mirror has no"):
        fetch(file, mirror=str(tmp_path / "empty"))


def tar_bytes(members):
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


ARCHIVE = {"target": "data/raw/a.tar.gz", "extract_to": "data/raw/out"}


def test_an_archive_is_extracted_once(server):
    server.content = tar_bytes({"a/one.txt": b"1", "a/two.txt": b"2"})
    fetch(entry(server, **ARCHIVE))
    assert Path("data/raw/out/a/two.txt").read_text() == "2"
    Path("data/raw/out/a/two.txt").write_text("changed")
    fetch(entry(server, **ARCHIVE))
    assert Path("data/raw/out/a/two.txt").read_text() == "changed"


@pytest.mark.parametrize("name", ["../../escaped.txt", "/tmp/metad2a-escaped.txt"])
def test_an_archive_cannot_reach_outside(server, name):
    server.content = tar_bytes({"fine.txt": b"1", name: b"2"})
    before = sorted(Path().rglob("*"))
    if name.startswith("/"):
        fetch(entry(server, **ARCHIVE))  # an absolute path is made relative
        assert Path("data/raw/out/tmp/metad2a-escaped.txt").is_file()
    else:
        with pytest.raises(UserError, match="outside"):
            fetch(entry(server, **ARCHIVE))
        assert not Path("data/raw/out/fine.txt").exists()
    assert not Path("/tmp/metad2a-escaped.txt").exists()
    assert not any(path.name == "escaped.txt" for path in Path().rglob("*"))
    assert before == []


def test_a_link_out_of_an_archive_is_refused(server):
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        info = tarfile.TarInfo("link")
        info.type, info.linkname = tarfile.SYMTYPE, "../../../etc"
        tar.addfile(info)
    server.content = buffer.getvalue()
    with pytest.raises(UserError, match="not extracted"):
        fetch(entry(server, **ARCHIVE))


def test_a_single_packed_file_is_unpacked(server):
    server.content = gzip.compress(b"digits")
    fetch(entry(server, target="data/raw/x-ubyte.gz", extract_to="data/raw"))
    assert Path("data/raw/x-ubyte").read_bytes() == b"digits"


def test_a_truncated_archive(server):
    server.content = tar_bytes({"a.txt": os.urandom(5000)})[:-500]
    with pytest.raises(UserError, match="damaged"):
        fetch(entry(server, **ARCHIVE))
    assert not Path("data/raw/out").exists()


def test_two_processes_at_once(server):
    server.content, server.delay = torch_bytes(), 0.02
    code = (
        "import sys; from metad2a.data.download import PublishedFile, fetch;"
        f"fetch(PublishedFile('toy', '{server.address}/toy.pt', 'data/toy.pt', 'x'))"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    both = [subprocess.Popen([sys.executable, "-c", code], env=environment) for _ in range(2)]
    assert [process.wait(timeout=120) for process in both] == [0, 0]
    assert Path("data/toy.pt").read_bytes() == server.content
    assert len(server.requests) == 1


def test_a_killed_download_is_resumed(server):
    server.content, server.delay = torch_bytes(n=200_000), 0.05
    code = (
        "from metad2a.data.download import PublishedFile, fetch;"
        f"fetch(PublishedFile('toy', '{server.address}/toy.pt', 'data/toy.pt', 'x'))"
    )
    process = subprocess.Popen([sys.executable, "-c", code], env={**os.environ, "PYTHONPATH": str(ROOT)})
    part, deadline = Path("data/toy.pt.part"), time.monotonic() + 60
    while time.monotonic() < deadline and not (part.exists() and part.stat().st_size > 0):
        time.sleep(0.02)
    time.sleep(0.2)
    process.kill()
    process.wait()
    server.delay = 0.0
    assert fetch(entry(server, address=f"{server.address}/toy.pt")).read_bytes() == server.content
    assert "Range" in server.requests[-1][1]


def test_one_failure_does_not_keep_the_rest(server):
    server.content, server.plan = torch_bytes(), [404]
    files = [entry(server, name=name, target=f"data/{name}.pt") for name in ("one", "two")]
    with pytest.raises(UserError, match=r"data/one\.pt"):
        fetch_all(files, None)
    assert Path("data/two.pt").is_file()


def test_a_server_that_is_away_is_tried_once_for_all_its_files(monkeypatch, server):
    """Offline, each of 13 files waited 15 s for the same server."""
    tried = []

    def get(address, **options):
        tried.append(address)
        if "away" in address:
            raise requests.ConnectionError
        return real(address, **options)

    real = requests.get
    monkeypatch.setattr(download.requests, "get", get)
    server.content = torch_bytes()
    addresses = ["http://away/1", "http://away/2", f"{server.address}/3", "http://away/4"]
    files = [PublishedFile(a[-1], a, f"data/{a[-1]}.pt", "x") for a in addresses]
    with pytest.raises(UserError, match="3 files could not be fetched: 1, 2, 4"):
        fetch_all(files, None)
    assert tried == ["http://away/1"] * download.MAX_FAILURES + [f"{server.address}/3"]


def test_a_server_that_answers_is_tried_for_each_of_its_files(server):
    files = [entry(server, name=name, target=f"data/{name}.pt") for name in ("one", "two")]
    server.plan = [500] * (2 * download.MAX_FAILURES)
    with pytest.raises(UserError, match="2 files"):
        fetch_all(files, None)
    assert len(server.requests) == 2 * download.MAX_FAILURES


def run_script(name, monkeypatch):
    """Run a thin script as a program; returns its exit code."""
    monkeypatch.setattr(sys, "argv", [name])
    with pytest.raises(SystemExit) as stop:
        runpy.run_path(str(ROOT / "get_files" / name), run_name="__main__")
    return stop.value.code


def test_the_scripts_serve_from_a_mirror(tmp_path, monkeypatch, capsys):
    """Every thin script, from a folder that holds the published files under their paths."""
    mirror = tmp_path / "mirror"
    monkeypatch.setenv("METAD2A_MIRROR", str(mirror))
    scripts = {
        "get_checkpoint.py": "results/generator/model/ckpt_400.pt",
        "get_predictor_checkpoint.py": "results/predictor/model/ckpt_max_corr.pt",
        "get_generator_checkpoint.py": "results/ofa_mbv3/generator/model/ckpt_120.pt",
        "get_generator_database.py": "data/generator/processed/collected_database.pt",
        "get_ofa_supernet.py": ".torch/ofa_nets/ofa_mbv3_d234_e346_k357_w1.0",
    }
    for name, target in scripts.items():
        (mirror / target).parent.mkdir(parents=True, exist_ok=True)
        (mirror / target).write_bytes(torch_bytes())
        assert run_script(name, monkeypatch) == 0
        assert Path(target).read_bytes() == torch_bytes()
    files = files_of("preprocessed-data", "nasbench201")
    for file in files[:-1]:
        (mirror / file.target).write_bytes(torch_bytes())
    assert run_script("get_preprocessed_data.py", monkeypatch) == 2
    errors = capsys.readouterr().err
    assert (
        errors.count("nasbench201") == errors.splitlines()[-1].count("nasbench201") > 0
    )  # it is named once, at the end
    assert all(Path(file.target).is_file() for file in files[:-1])
    assert run_script("get_predictor_database.py", monkeypatch) == 2
    assert "issue 3" in capsys.readouterr().err


def test_scripts_run_as_programs():
    command = [sys.executable, str(ROOT / "get_files" / "get_pets.py"), "--list"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "data/raw-data/pets/oxford-iiit-pet/annotations.tar.gz" in done.stdout


def test_the_manifest_is_consistent():
    published = [files_of("preprocessed-data", space) for space in ("nasbench201", "ofa_mbv3")]
    files = [file for group in (*published, *RAW_DATA.values()) for file in group]
    by_target = {}
    for file in files:
        assert by_target.setdefault(file.target, file.address) == file.address
        assert file.address.startswith("http")
        assert not file.target.startswith("/")
    assert json.dumps(sorted(RAW_DATA)) == json.dumps(
        ["aircraft", "aircraft100", "cifar10", "cifar100", "mnist", "pets", "svhn"]
    )


@pytest.mark.parametrize("seed", range(20))
def test_no_damage_to_an_archive_goes_unnoticed(server, seed):
    """A byte changed anywhere in a gzip archive: an error for the user, never a traceback or a good file."""
    import random

    rng = random.Random(seed)
    content = bytearray(tar_bytes({"a.txt": rng.randbytes(3000), "b.txt": bytes(3000)}))
    content[rng.randrange(18, len(content))] ^= 1 << rng.randrange(8)
    server.content = bytes(content)
    with pytest.raises(UserError, match="damaged"):
        fetch(entry(server, **ARCHIVE))
    assert not Path("data/raw/a.tar.gz").exists()


def test_old_pytorch_files_are_read_to_their_end(tmp_path):
    """Files of PyTorch before 1.6 have no checksums: a truncated one is found all the same, igraph's too."""
    import igraph

    for value in ({"w": torch.randn(500)}, {"graph": [igraph.Graph(3)], "acc": [1.0]}):
        path = tmp_path / "old.pt"
        torch.save(value, path, _use_new_zipfile_serialization=False)
        file = PublishedFile("toy", "http://nowhere.invalid/x", "data/toy.pt", "x")
        download.verify(path, file)
        whole = path.read_bytes()
        for share in (0.3, 0.9):
            path.write_bytes(whole[: int(len(whole) * share)])
            with pytest.raises(download.Damaged):
                download.verify(path, file)


def test_a_removed_extraction_is_made_again(server):
    server.content = tar_bytes({"a/one.txt": b"1"})
    fetch(entry(server, **ARCHIVE))
    shutil.rmtree("data/raw/out/a")
    fetch(entry(server, **ARCHIVE))
    assert Path("data/raw/out/a/one.txt").read_text() == "1"


def test_a_killed_extraction_leaves_nothing_that_looks_whole(server, monkeypatch):
    server.content = tar_bytes({"a/one.txt": b"1", "a/two.txt": b"2"})

    def killed(tar, folder, filter):
        tar.extract("a/one.txt", folder, filter=filter)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(tarfile.TarFile, "extractall", killed)
        with pytest.raises(KeyboardInterrupt):
            fetch(entry(server, **ARCHIVE))
    assert not Path("data/raw/out/a").exists()
    fetch(entry(server, **ARCHIVE))
    assert Path("data/raw/out/a/two.txt").read_text() == "2"
