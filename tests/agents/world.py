"""A world of its own for each scenario: homes, a scripted API, a store."""
import json
import os
import signal
import subprocess
import time
from pathlib import Path

import api

#: Enough for a loaded machine; a scenario waits for events, never for a time.
PATIENCE = 180

TURNKEEP = Path(os.environ.get("TURNKEEP", Path(__file__).parents[2] / "target/debug/turnkeep")).resolve()


def wait_until(test, of, timeout=PATIENCE):
    """Waits until `test` returns something true, and returns that."""
    end = time.monotonic() + timeout
    while time.monotonic() < end:
        if value := test():
            return value
        time.sleep(0.02)
    raise AssertionError(f"waited in vain for {of}")


def expect(got, wanted, of):
    if got != wanted:
        raise AssertionError(f"{of}:\n  got    {got}\n  wanted {wanted}")


class Run:
    """A run of a program that has ended."""

    def __init__(self, code, out, err, session=None, requests=()):
        self.code, self.out, self.err = code, out, err
        self.session = session
        self.requests = list(requests)

    @property
    def sent(self):
        """The conversation with which the program began."""
        if not self.requests:
            raise AssertionError(f"the program asked no API: code {self.code}\n{self.err[-2000:]}\n{self.out[-2000:]}")
        return self.requests[0].text


class World:
    """The API, and the machines on which one program runs."""

    def __init__(self, folder, program):
        self.folder, self.program = folder, program
        self.server, self.script = api.serve(program.api)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        self.started = []

    def machine(self, name="a"):
        return Machine(self, name)

    def close(self):
        for process in self.started:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
        self.server.shutdown()
        self.server.server_close()


class Machine:
    """A home with an agent's configuration folder, a working folder and a store."""

    def __init__(self, world, name):
        self.world, self.program = world, world.program
        self.home = (world.folder / name).resolve()
        self.config = self.home / self.program.config_name
        self.app = self.home / "app"
        self.store = str(self.home / "turnkeep.db")
        self.app.mkdir(parents=True)
        self.set_up()

    def set_up(self, **more):
        self.program.set_up(self.config, self.world.url, **more)

    def env(self):
        return {
            "PATH": os.environ["PATH"], "HOME": str(self.home), "LANG": "C.UTF-8", "TZ": "UTC",
            # Claude Code lets root allow tools only in a sandbox.
            "IS_SANDBOX": "1",
            # All but the loopback ends at a closed port.
            "HTTPS_PROXY": "http://127.0.0.1:9", "HTTP_PROXY": "http://127.0.0.1:9", "NO_PROXY": "127.0.0.1",
            "TURNKEEP_DB": self.store,
            self.program.config_variable: str(self.config),
            **self.program.env(self.world.url)}

    # --- Processes.

    def start(self, command, folder=None):
        process = subprocess.Popen(
            [str(part) for part in command], cwd=folder or self.app, env=self.env(), text=True,
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True)
        self.world.started.append(process)
        return process

    def run(self, command, folder=None):
        before = len(self.world.script.requests)
        process = self.start(command, folder)
        try:
            out, err = process.communicate(timeout=PATIENCE)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            out, err = process.communicate()
            raise AssertionError(f"{command} did not end\n{err[-2000:]}\n{out[-2000:]}") from None
        sessions = {self.program.session_of(event) for event in json_lines(out)} - {None}
        return Run(process.returncode, out, err, next(iter(sessions), None),
                   self.world.script.requests[before:])

    # --- The agent.

    def talk(self, prompt, *blocks, session=None, folder=None, fork=False):
        """One headless run of the agent: a prompt and its answer."""
        self.world.script.add(prompt, *blocks)
        run = self.run(self.program.command(prompt, session, fork), folder)
        if run.code:
            raise AssertionError(f"the agent failed with {run.code}\n{run.err[-2000:]}\n{run.out[-2000:]}")
        return run

    def recordings(self):
        return self.program.recordings(self.config)

    def recording(self, session):
        found = [path for path in self.recordings() if session in path.name]
        expect(len(found), 1, f"recordings of session {session} in {self.config}")
        return found[0]

    # --- Turnkeep.

    def turnkeep(self, *arguments, fails=False, folder=None):
        run = self.run([TURNKEEP, *arguments], folder)
        if bool(run.code) != fails:
            raise AssertionError(f"turnkeep {' '.join(map(str, arguments))} ended with {run.code}\n"
                                 f"{run.err[-2000:]}\n{run.out[-2000:]}")
        return run

    def import_all(self):
        """Imports the agent's folder; returns an object for each session."""
        return json_lines(self.turnkeep("--json", "import", self.config).out)

    def history(self, session):
        turns = json_lines(self.turnkeep("--json", "history", f"{self.program.backend}:{session}").out)
        return [(turn["role"], turn["content"]) for turn in turns]


def json_lines(text):
    """The JSON objects among the lines. Only LF ends a line: U+2028 stands raw in the programs' texts."""
    values = []
    for line in text.split("\n"):
        try:
            values.append(json.loads(line))
        except ValueError:
            pass
    return [value for value in values if isinstance(value, dict)]
