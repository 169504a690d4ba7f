"""A web page that steers a running agent: sliders, the live frame, the decoded prediction.

Extra ``web`` (gradio). The page is served to this machine only, asks for nothing from the network,
and sends no statistics; its pictures travel inside the page, so none is left on the disk.
"""

import base64
import html
import os
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from importlib import import_module
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from rlgen.agents.disentangled.govern import Governor
from rlgen.agents.disentangled.panel import LIMIT, latent_panel, prediction_picture
from rlgen.agents.disentangled.rules import Overwrite
from rlgen.core.cli import tell
from rlgen.core.errors import MissingExtraError, UserError

Frame = npt.NDArray[np.uint8]
_PANEL = (120, 480)
_PREDICTION = (240, 480)
_SECONDS_PER_STEP = 0.1  # of the page's clock; a slow renderer makes it slower


@dataclass(frozen=True)
class View:
    """What the page shows of one step.

    Attributes:
        frame: The environment before the step, RGB.
        latents: Means of the coordinates, see :func:`latent_panel`.
        prediction: The next state that the edited means and the action decode to.
        status: One line of figures.
    """

    frame: Frame
    latents: Frame
    prediction: Frame
    status: str


class LiveEpisode:
    """An endless row of episodes, one step at a time, under rules that may change between steps.

    Everything happens on one thread of its own: OpenGL contexts belong to the thread that made
    them, and a web server calls from many.

    Args:
        governor: The agent; its rules come before those of the page.
        config: Of its run.
        deterministic: Take the most probable action, instead of sampling.
    """

    def __init__(
        self, governor: Governor, config: dict[str, Any], *, deterministic: bool = False
    ) -> None:
        self.governor = governor
        self.config = config
        self.deterministic = deterministic
        self._own = governor.rules
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="episode")
        self._thread.submit(self._open).result()

    def step(self, held: Mapping[int, float]) -> View:
        """Takes one step.

        Args:
            held: Values by coordinate, which are overwritten with them.
        """
        return self._thread.submit(self._step, dict(held)).result()

    def restart(self) -> None:
        """Begins a new episode."""
        self._thread.submit(self._begin).result()

    def close(self) -> None:
        """Closes the environment and gives the governor its own rules back."""
        self._thread.submit(self.env.close).result()
        self._thread.shutdown()
        self.governor.rules = self._own

    def _open(self) -> None:
        from rlgen.agents.scoring import drawable_env  # late: it imports all agents, and so this

        os.environ.setdefault("SDL_VIDEODRIVER", "dummy")  # Gymnasium's pygame needs no display
        self.env = drawable_env(self.governor.model, self.config)
        self._begin()
        try:
            self._picture()  # what cannot be drawn is told before anything is served
        except UserError:
            self.env.close()
            raise

    def _begin(self) -> None:
        self._observations: Any = self.env.reset()
        self._state: Any = None
        self._starts = np.ones(1, dtype=bool)
        self._return = 0.0

    def _step(self, held: dict[int, float]) -> View:
        governor = self.governor
        governor.rules = [*self._own, *(Overwrite(i, v) for i, v in sorted(held.items()))]
        frame, seen = self._picture(), self._observations
        actions, self._state = governor.predict(seen, self._state, self._starts, self.deterministic)
        prediction = governor.decode(actions)[0]
        vector = isinstance(seen, np.ndarray) and seen[0].size == prediction.size
        self._observations, rewards, self._starts, _ = self.env.step(actions)
        self._return += float(rewards[0])
        view = View(
            frame,
            latent_panel(governor, _PANEL),
            prediction_picture(prediction, _PREDICTION, seen[0].reshape(-1) if vector else None),
            self._status(),
        )
        if self._starts[0]:
            self._return = 0.0
        return view

    def _picture(self) -> Frame:
        from rlgen.agents.scoring import visible_frame

        try:
            frame = self.env.get_images()[0]
        except Exception as error:  # such as MuJoCo's own, where there is no OpenGL
            reason = str(error).split("\n")[0]
            raise UserError(f"no page: the environment cannot be drawn here ({reason})") from None
        if frame is None:
            raise UserError("no page: the environment draws no pictures")
        return visible_frame(frame)

    def _status(self) -> str:
        governor = self.governor
        parts = [f"step {governor.steps[0]}", f"return {self._return:.2f}"]
        if governor.visited is not None:
            parts.append(f"novelty {governor.visited.novelty(governor.latents)[0]:.1f} nats")
            parts += ["ALARM: no such state was visited"] if governor.alarms[0] else []
        parts.append("rules: " + (" ".join(map(str, governor.rules)) or "none"))
        return ", ".join(parts)


def build_page(live: LiveEpisode) -> Any:
    """Returns the page as gradio Blocks, not yet served.

    Raises:
        MissingExtraError: If gradio is not installed.
    """
    gr = _gradio()
    governor = live.governor
    n, m = governor.latent_dim, governor.action_dim
    with gr.Blocks(title="rlgen: govern an agent", analytics_enabled=False) as page:
        gr.Markdown(
            f"### {live.config['agent']['name']} on {live.config['env']}\n"
            "Move a slider to overwrite a coordinate of the mean; take its tick away to let go. "
            "Bars: blue is mapped to the action, gray is not, orange is overwritten, a line is "
            "what the encoder says."
        )
        with gr.Row():
            with gr.Column():
                shown = gr.HTML(elem_id="view")
                with gr.Row():
                    playing = gr.Checkbox(True, label="play", elem_id="play")
                    once = gr.Button("one step", elem_id="once")
                    again = gr.Button("new episode", elem_id="restart")
                    free = gr.Button("let go of all", elem_id="free")
            with gr.Column():
                ticks, sliders = _controls(gr, n, m)
        clock = gr.Timer(_SECONDS_PER_STEP)

        def step(*values: Any) -> str:
            on, at = values[:n], values[n:]
            try:
                view = live.step({i: float(at[i]) for i in range(n) if on[i]})
            except UserError as error:
                return f"<p>{html.escape(str(error))}</p>"
            return _as_html(view)

        inputs = [*ticks, *sliders]
        alone = {"concurrency_limit": 1, "concurrency_id": "episode", "show_progress": "hidden"}
        clock.tick(step, inputs, shown, **alone)
        once.click(step, inputs, shown, **alone)
        again.click(live.restart, None, None, **alone)
        free.click(lambda: [False] * n, None, ticks, show_progress="hidden")
        playing.change(lambda on: gr.Timer(active=on), playing, clock, show_progress="hidden")
    return page


def serve(
    governor: Governor,
    config: dict[str, Any],
    *,
    port: int = 7860,
    deterministic: bool = False,
) -> None:
    """Serves the page to this machine, until the process is interrupted.

    Args:
        governor: The agent.
        config: Of its run.
        port: On which; 0: any that is free from 7860 on.
        deterministic: Take the most probable action, instead of sampling.

    Raises:
        MissingExtraError: If gradio is not installed.
        UserError: If the port is taken or the environment cannot be drawn.
    """
    _gradio()
    live = LiveEpisode(governor, config, deterministic=deterministic)
    try:
        page = build_page(live)
        _, address, _ = page.launch(
            server_name="127.0.0.1",
            server_port=port or None,
            prevent_thread_lock=True,
            share=False,
            quiet=True,
            ssr_mode=False,
            footer_links=[],
        )
    except OSError:
        live.close()
        raise UserError(f"port={port} is taken; type port=0 for one that is free") from None
    tell(f"page: {address} (stop with Ctrl-C)")
    try:
        while True:
            time.sleep(3600)
    finally:
        page.close(verbose=False)
        live.close()


def _controls(gr: Any, n: int, m: int) -> tuple[list[Any], list[Any]]:
    """Makes a tick and a slider per coordinate; moving the slider sets the tick."""
    ticks, sliders = [], []
    for i in range(n):
        kind = "mapped" if i < m else "not mapped"
        with gr.Row():
            tick = gr.Checkbox(False, label=f"{i}", elem_id=f"tick-{i}", scale=1, min_width=60)
            slider = gr.Slider(
                -LIMIT,
                LIMIT,
                0.0,
                step=0.1,
                label=f"coordinate {i} ({kind})",
                elem_id=f"coordinate-{i}",
                scale=6,
            )
        slider.input(lambda: True, None, tick, show_progress="hidden")
        ticks.append(tick)
        sliders.append(slider)
    return ticks, sliders


def _as_html(view: View) -> str:
    pictures = {
        "live frame": view.frame,
        "latent means": view.latents,
        "decoded prediction of the next state": view.prediction,
    }
    parts = [
        f"<figure style='margin:0 0 8px'><img alt='{name}' style='width:100%' "
        f"src='data:image/jpeg;base64,{_encoded(picture)}'>"
        f"<figcaption>{name}</figcaption></figure>"
        for name, picture in pictures.items()
    ]
    return f"<p id='status'>{html.escape(view.status)}</p>" + "".join(parts)


def _encoded(picture: Frame) -> str:
    _, data = cv2.imencode(".jpg", picture[:, :, ::-1])  # OpenCV wants blue first
    return base64.b64encode(data.tobytes()).decode()


def _gradio() -> Any:
    os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")
    try:
        return import_module("gradio")
    except ModuleNotFoundError as error:
        raise MissingExtraError("page=true", "web") from error
