"""TUNDISH_TEST_STORE: another server's binary gets the store and bucket tests too. A SeaweedFS plays that binary."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.foreign_store import kinds

ROOT = Path(__file__).parent.parent

# It understands what MinIO, Silo and RustFS are given, and nothing else.
STAND_IN = f"""#!{sys.executable} -P
import os, sys
sys.path.insert(0, {str(ROOT)!r})
from pathlib import Path
from runtime.system import services
from runtime.host.free_ports import Ports
words = sys.argv[1:]
maker = "RUSTFS" if "rustfs" in sys.argv[0] else "MINIO"
if maker == "MINIO":
    assert words.pop(0) == "server"
address = words.pop(words.index("--address") + 1)
words.remove("--address")
(folder,) = map(Path, words)
names = {{"RUSTFS": ("RUSTFS_ACCESS_KEY", "RUSTFS_SECRET_KEY"), "MINIO": ("MINIO_ROOT_USER", "MINIO_ROOT_PASSWORD")}}
user, password = (os.environ[name] for name in names[maker])
service, _ = services.seaweedfs(folder, Ports(folder), services.load_credentials(folder))
argv = [word for word in service.argv if not word.startswith("-s3.port=")] + ["-s3.port=" + address.split(":")[1]]
os.execve(argv[0], argv, dict(service.environ, AWS_ACCESS_KEY_ID=user, AWS_SECRET_ACCESS_KEY=password))
"""


def run_tests(store: Path, *words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-P", "-m", "pytest", "-p", "no:cacheprovider", "-v", *words]
    environ = {**os.environ, "TUNDISH_TEST_STORE": str(store)}
    return subprocess.run(command, cwd=ROOT, env=environ, capture_output=True, text=True, check=False, timeout=300)


@pytest.mark.parametrize("kind", ["silo", "rustfs"])
def test_the_tests_run_against_both_servers(tmp_path: Path, kind: str) -> None:
    binary = tmp_path / f"{kind}.2026-11"
    binary.write_text(STAND_IN)
    binary.chmod(0o755)
    done = run_tests(binary, "tests/test_store.py", "-k", "empty_object or several_pages")
    assert done.returncode == 0, done.stdout + done.stderr
    passed = [line.split()[0].rpartition("::")[2] for line in done.stdout.splitlines() if " PASSED" in line]
    assert sorted(passed) == sorted(f"test_an_empty_object[{name}]" for name in ("seaweedfs", kind))


def test_triggers_run_against_both_servers(tmp_path: Path) -> None:
    binary = tmp_path / "minio"
    binary.write_text(STAND_IN)
    binary.chmod(0o755)
    done = run_tests(binary, "tests/test_bucket_semantics.py", "-k", "without_bytes and listed-minio")
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count(" PASSED") == 1


@pytest.mark.parametrize(("name", "mode"), [("minio", None), ("minio", 0o644), ("garage", 0o755)])
def test_what_is_no_server_is_refused(tmp_path: Path, name: str, mode: int | None) -> None:
    binary = tmp_path / name
    if mode is not None:
        binary.write_text(STAND_IN)
        binary.chmod(mode)
    with pytest.raises(pytest.UsageError, match=f"{binary} names no server to test with.*minio, silo, rustfs"):
        kinds({"TUNDISH_TEST_STORE": str(binary)})


def test_without_it_there_is_one_server() -> None:
    assert kinds({}) == kinds({"TUNDISH_TEST_STORE": ""}) == ["seaweedfs"]
