"""The cadquery loop in a process of its own, because OpenCascade may take minutes over a step."""

import multiprocessing
import time
from multiprocessing.connection import Connection

from design_episodes import Episode, Played
from design_peers import CadqueryKernel, Call, Loop

from rlgen.envs.design.task.presets import make_task


def serve(pipe: Connection, task: str) -> None:
    """Plays in a process that can be given up: answers calls with seconds and volume."""
    loop = Loop(CadqueryKernel(), make_task(task))
    pipe.send("ready")
    while (call := pipe.recv()) is not None:
        start = time.perf_counter()
        if call == "reset":
            loop.reset()
        else:
            try:
                loop.step(call)
            except Exception:  # OpenCascade fails in many ways; the design stays
                if call.accepted:
                    loop.history.append(loop.body)
        pipe.send((time.perf_counter() - start, loop.volume))


class Guarded:
    """The cadquery loop in a process, whose steps may take so long and no longer.

    What is given up counts with the time that was waited, which is less than it would have taken;
    the rest of that episode is left out.
    """

    def __init__(self, task: str, limit: float) -> None:
        self.task, self.limit = task, limit
        self._start()

    def _start(self) -> None:
        context = multiprocessing.get_context("spawn")
        self.pipe, other = context.Pipe()
        self.process = context.Process(target=serve, args=(other, self.task), daemon=True)
        self.process.start()
        other.close()
        self.pipe.recv()

    def close(self) -> None:
        """Ends the process."""
        self.process.kill()
        self.process.join()

    def play(self, episodes: list[Episode]) -> Played:
        """Plays episodes; volumes that are not known are NaN."""
        played = Played(0, 0.0, [], [])
        for episode in episodes:
            self.pipe.send("reset")
            self.pipe.recv()
            volumes = [float("nan")] * len(episode.calls)
            for number, call in enumerate(episode.calls):
                answer = self._step(call)
                played.steps += 1
                played.latencies.append(answer[0])
                volumes[number] = answer[1]
                if answer[0] >= self.limit:
                    played.given_up += 1
                    break
            played.volumes += volumes
        played.seconds = sum(played.latencies)
        return played

    def _step(self, call: Call) -> tuple[float, float]:
        self.pipe.send(call)
        try:
            if self.pipe.poll(self.limit):
                seconds, volume = self.pipe.recv()
                return seconds, volume
        except EOFError:
            pass  # the library broke the process
        self.close()
        self._start()
        return self.limit, float("nan")
