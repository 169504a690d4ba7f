"""The page: the live episode behind it, and the page itself in a headless browser."""

import contextlib
import json
import re
import shutil
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from governed_agents import N, Walk, agent

from rlgen.agents.disentangled import page as page_module
from rlgen.agents.disentangled.govern import Governor
from rlgen.agents.disentangled.page import LiveEpisode, serve
from rlgen.agents.disentangled.visited import fit_visited
from rlgen.core.errors import MissingExtraError, UserError

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "chrome"))), None)
CONFIG = {"env": "GovernedWalk-v0", "seed": 0, "env_kwargs": {}, "agent": {"name": "an agent"}}


@pytest.fixture
def config() -> Iterator[dict[str, Any]]:
    gym.register("GovernedWalk-v0", Walk, kwargs={"limit": 5})
    yield CONFIG
    gym.registry.pop("GovernedWalk-v0")


@pytest.fixture
def live(config: dict[str, Any]) -> Iterator[LiveEpisode]:
    visited = fit_visited(np.random.default_rng(0).normal(50.0, 1.0, size=(60, N)))
    episode = LiveEpisode(Governor(agent(), "scale=2:0", visited=visited), config)
    yield episode
    with contextlib.suppress(RuntimeError):  # closed by the test
        episode.close()


def test_a_step_shows_the_frame_the_means_and_the_prediction(live):
    view = live.step({0: 3.0})
    assert view.frame.shape == (160, 240, 3)  # tiny pictures are enlarged
    assert view.latents.shape == (120, 480, 3)
    assert view.prediction.shape == (240, 480, 3)
    assert view.prediction.std() > 0
    assert view.status.startswith("step 0, return ")
    assert view.status.endswith("ALARM: no such state was visited, rules: scale=2:0 set=0:3")


def test_what_is_held_holds_for_that_step_only(live):
    live.step({0: 3.0, 4: -1.0})
    assert live.governor.edited[0, [0, 2, 4]].tolist() == [3.0, 0.0, -1.0]
    live.step({})
    assert live.governor.edited[0, 0] == live.governor.latents[0, 0]
    assert live.governor.edited[0, 2] == 0.0


def test_episodes_follow_each_other_and_can_be_begun_anew(live):
    steps = [live.step({}).status.split(",")[0] for _ in range(6)]
    assert steps == ["step 0", "step 1", "step 2", "step 3", "step 4", "step 0"]
    live.step({})
    live.restart()
    assert live.step({}).status.startswith("step 0, ")


def test_the_governor_has_its_own_rules_back_afterwards(live):
    live.step({0: 3.0})
    live.close()
    assert [str(rule) for rule in live.governor.rules] == ["scale=2:0"]


def test_an_environment_that_draws_nothing_is_told_before_anything_is_served(config, monkeypatch):
    monkeypatch.setattr(Walk, "render", lambda self: None)
    with pytest.raises(UserError, match="no page: the environment draws no pictures"):
        LiveEpisode(Governor(agent()), config)


def test_without_gradio_the_extra_is_named(config, monkeypatch):
    def absent(name: str) -> Any:
        raise ModuleNotFoundError(name)

    monkeypatch.setattr(page_module, "import_module", absent)
    with pytest.raises(MissingExtraError, match=r'pip install "rlgen\[web\]"'):
        serve(Governor(agent()), config)


class Browser:
    """A page in headless Chromium, driven by its DevTools protocol over a socket."""

    def __init__(self, socket: Any) -> None:
        self.socket = socket
        self.sent = 0
        self.requested: list[str] = []
        self.call("Network.enable")

    def call(self, method: str, **params: Any) -> dict[str, Any]:
        self.sent += 1
        self.socket.send(json.dumps({"id": self.sent, "method": method, "params": params}))
        while True:
            message = json.loads(self.socket.recv(timeout=60))
            if message.get("method") == "Network.requestWillBeSent":
                self.requested.append(message["params"]["request"]["url"])
            if message.get("id") == self.sent:
                return dict(message["result"])

    def run(self, script: str) -> Any:
        return self.call("Runtime.evaluate", expression=script, returnByValue=True)["result"].get(
            "value"
        )

    @staticmethod
    def wait(condition: Any, seconds: float = 90.0) -> Any:
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            found = condition()
            if found:
                return found
            time.sleep(0.1)
        raise AssertionError("the browser did not get there in time")


@contextlib.contextmanager
def browse(profile: Path, address: str) -> Iterator[Browser]:
    """Opens an address in a new browser with an empty profile."""
    from websockets.sync.client import connect

    command = [str(BROWSER), "--headless", "--no-sandbox", "--disable-gpu", address]
    command += ["--remote-debugging-port=0", f"--user-data-dir={profile}"]
    command += ["--disable-background-networking", "--disable-dev-shm-usage"]
    # Chromium's own errors end in a file: a pipe that nobody reads would fill up.
    with (profile.parent / "chromium.log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log)
    try:
        port_file = profile / "DevToolsActivePort"
        Browser.wait(lambda: port_file.exists() and port_file.read_text().count("\n"))
        port = port_file.read_text().split("\n")[0]
        with connect(Browser.wait(lambda: _target(port)), max_size=None) as socket:
            yield Browser(socket)
    finally:
        process.kill()
        process.wait()


def _target(port: str) -> str | None:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/json", timeout=10) as answer:
        pages = [found for found in json.load(answer) if found["type"] == "page"]
    return pages[0]["webSocketDebuggerUrl"] if pages else None


@contextlib.contextmanager
def served(log: Path) -> Iterator[str]:
    """Serves the page in a process of its own: gradio leaves event loops behind in its own."""
    code = (
        "import gymnasium as gym; from governed_agents import Walk, agent;"
        "from rlgen.agents.disentangled.govern import Governor;"
        "from rlgen.agents.disentangled.page import serve;"
        "gym.register('GovernedWalk-v0', Walk, kwargs={'limit': 5});"
        f"serve(Governor(agent()), {CONFIG!r}, port=0)"
    )
    with log.open("wb") as told:
        process = subprocess.Popen(
            [sys.executable, "-c", code], cwd=Path(__file__).parent, stderr=told
        )
    try:
        yield Browser.wait(lambda: re.search(r"http://\S+", log.read_text()))[0]
        process.send_signal(signal.SIGINT)
        process.wait(timeout=60)
    finally:
        process.kill()
        process.wait()


@pytest.mark.slow
@pytest.mark.skipif(BROWSER is None, reason="no Chromium")
@pytest.mark.skipif(sys.platform == "win32", reason="signals")
def test_the_page_in_a_browser(tmp_path):
    pytest.importorskip("gradio")
    with (
        served(tmp_path / "page.log") as address,
        browse(tmp_path / "profile", address) as browser,
    ):
        check_page(browser)
    assert "KeyboardInterrupt" in (tmp_path / "page.log").read_text()


def check_page(browser: Browser) -> None:
    status = "document.querySelector('#status')?.textContent ?? ''"
    pictures = (
        "[...document.querySelectorAll('#view img')]"
        ".filter(i => i.naturalWidth > 0).map(i => i.alt)"
    )
    browser.wait(lambda: len(browser.run(pictures) or []) == 3)
    assert browser.run(pictures)[0] == "live frame"
    first = browser.run(status)
    browser.wait(lambda: browser.run(status) != first)  # it plays
    browser.run(
        "{const box = document.querySelector('#coordinate-1 input[type=number]');"
        "Object.getOwnPropertyDescriptor(HTMLInputElement.prototype, 'value').set.call(box, '2.5');"
        "for (const kind of ['input', 'change', 'blur'])"
        "box.dispatchEvent(new Event(kind, {bubbles: true}));}"
    )
    browser.wait(lambda: "set=1:2.5" in browser.run(status))
    assert browser.run("document.querySelector('#tick-1 input').checked") is True
    browser.run("document.querySelector('#free').click()")
    browser.wait(lambda: browser.run(status).endswith("rules: none"))
    browser.run("document.querySelector('#play input').click()")
    stopped = browser.wait(lambda: _still(browser, status))
    browser.run("document.querySelector('#once').click()")
    browser.wait(lambda: browser.run(status) != stopped)
    local = ("http://127.0.0.1", "ws://127.0.0.1", "data:", "blob:", "http://localhost")
    assert browser.requested
    assert [url for url in browser.requested if not url.startswith(local)] == []


def _still(browser: Browser, status: str) -> str | None:
    """Returns the status line if it stays for a while."""
    before = browser.run(status)
    time.sleep(1.0)
    return before if browser.run(status) == before else None
