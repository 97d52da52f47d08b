"""A world of its own for each scenario: homes, a scripted API, a store."""
import fcntl
import json
import os
import pty
import re
import signal
import struct
import subprocess
import termios
import threading
import time
from pathlib import Path

import api

#: Enough for a loaded machine; a scenario waits for events, never for a time.
PATIENCE = 180

TURNKEEP = Path(os.environ.get("TURNKEEP", Path(__file__).parents[2] / "target/debug/turnkeep")).resolve()


def read(path):
    """The text of a recording, which another process may delete at any time."""
    try:
        return path.read_text()
    except FileNotFoundError:
        return ""


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
        raise AssertionError(f"{of}:\n  got    {str(got)[:3000]}\n  wanted {str(wanted)[:3000]}")


def expect_in(text, wanted, of):
    missing = [part for part in wanted if part not in text]
    if missing:
        raise AssertionError(f"{of} does not contain {missing}:\n{text[-3000:]}")


class Run:
    """A run of a program that has ended."""

    def __init__(self, code, out, err, session=None, requests=()):
        self.code, self.out, self.err = code, out, err
        self.session = session
        self.requests = list(requests)

    @property
    def all(self):
        return self.out + self.err

    @property
    def sent(self):
        """The conversation with which the program began."""
        if not self.requests:
            raise AssertionError(f"the program asked no API, and ended with {self.code}\n{self.all[-4000:]}")
        return self.requests[0].text


class World:
    """The API, and the machines on which one program runs."""

    def __init__(self, folder, program):
        self.folder, self.program = folder, program
        self.server, self.script = api.serve(program.api, self.is_recorded)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        self.machines, self.started, self.servers = [], [], []

    def machine(self, name="a"):
        self.machines.append(Machine(self, name))
        return self.machines[-1]

    def is_recorded(self, text):
        return any(text in read(path) for machine in self.machines for path in machine.recordings())

    def postgres(self):
        """Starts a server, and returns the address of its store."""
        server = subprocess.Popen([TURNKEEP.with_name("turnkeep-test-server")], text=True,
                                  stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self.servers.append(server)
        return server.stdout.readline().strip()

    def close(self):
        for process in self.started:
            kill(process)
        for server in self.servers:
            server.communicate()  # Closes its input, which ends it.
        self.server.shutdown()
        self.server.server_close()


class Machine:
    """A home with an agent's configuration folder, a working folder and a store."""

    def __init__(self, world, name):
        self.world, self.program = world, world.program
        self.home = (world.folder / name).resolve()
        self.config = self.home / self.program.config_name
        self.app = self.home / "app"
        self.store = self.home / "turnkeep.db"
        self.tasks = {}
        self.app.mkdir(parents=True)
        self.bin = self.home / "bin"
        self.bin.mkdir()
        agent = self.bin / self.program.backend
        agent.write_text(f'#!/bin/sh\nexec "{self.program.path}" {self.program.options} "$@"\n')
        agent.chmod(0o755)
        (self.bin / "turnkeep").symlink_to(TURNKEEP)
        self.set_up()

    def set_up(self, **more):
        self.program.set_up(self.config, self.world.url, [self.home, self.app], **more)

    def env(self):
        return {
            "PATH": f"{self.bin}:{os.environ['PATH']}", "HOME": str(self.home), "LANG": "C.UTF-8", "TZ": "UTC",
            "TERM": "xterm-256color",
            # Claude Code lets root allow tools only in a sandbox.
            "IS_SANDBOX": "1",
            # All but the loopback ends at a closed port.
            "HTTPS_PROXY": "http://127.0.0.1:9", "HTTP_PROXY": "http://127.0.0.1:9", "NO_PROXY": "127.0.0.1",
            "TURNKEEP_DB": str(self.store),
            self.program.config_variable: str(self.config),
            **self.program.env(self.world.url)}

    # --- Processes.

    def start(self, command, folder=None, **pipes):
        pipes = pipes or {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        process = subprocess.Popen([str(part) for part in command], cwd=folder or self.app, env=self.env(),
                                   text=True, start_new_session=True, **pipes)
        self.world.started.append(process)
        return process

    def run(self, command, folder=None):
        before = len(self.world.script.requests)
        process = self.start(command, folder)
        try:
            out, err = process.communicate(timeout=PATIENCE)
        except subprocess.TimeoutExpired:
            kill(process)
            out, err = process.communicate()
            raise AssertionError(f"{command} did not end\n{err[-2000:]}\n{out[-2000:]}") from None
        sessions = {self.program.session_of(event) for event in json_lines(out)} - {None}
        return Run(process.returncode, out, err, next(iter(sessions), None),
                   self.world.script.requests[before:])

    def terminal(self, command, folder=None):
        return Terminal(self, command, folder)

    # --- The agent.

    def talk(self, prompt, *blocks, session=None, folder=None, fork=False, options=()):
        """One headless run of the agent: a prompt and its answer."""
        self.world.script.add(prompt, *blocks)
        run = self.run(self.program.command(prompt, session, fork, options), folder)
        if run.code:
            raise AssertionError(f"the agent failed with {run.code}\n{run.err[-2000:]}\n{run.out[-2000:]}")
        return run

    def recordings(self):
        return self.program.recordings(self.config)

    def sessions(self):
        """The ids of the recorded sessions; both programs' file names end with it."""
        return [path.stem[-36:] for path in self.recordings()]

    def recording(self, session):
        found = [path for path in self.recordings() if session in path.name]
        expect(len(found), 1, f"recordings of session {session} in {self.config}")
        return found[0]

    # --- Turnkeep.

    def turnkeep(self, *arguments, fails=False):
        """Runs turnkeep at home, since the working folder may be gone."""
        run = self.run(["turnkeep", *arguments], self.home)
        if bool(run.code) != fails:
            raise AssertionError(f"turnkeep {' '.join(map(str, arguments))} ended with {run.code}\n"
                                 f"{run.err[-2000:]}\n{run.out[-2000:]}")
        return run

    def import_all(self, *options):
        """Imports the agent's folder; returns an object for each session."""
        return json_lines(self.turnkeep("--json", "import", *options, self.config).out)

    def bind(self, task, session):
        """Binds a task of an orchestrator to a session."""
        self.turnkeep("task", "add", task)
        self.turnkeep("session", "set", task, "--backend", self.program.backend, "--session-id", session,
                      "--working-dir", self.app)
        self.tasks[session] = task

    def task(self, session):
        return self.tasks.get(session, f"{self.program.backend}:{session}")

    def history(self, session):
        """The turns of a session: (role, text). Empty if the store does not know it."""
        run = self.run(["turnkeep", "--json", "history", self.task(session)], self.home)
        return [(turn["role"], turn["content"]) for turn in json_lines(run.out)]

    def wait_for_history(self, session, wanted, imports=False):
        """Waits until another process, or an import, has kept these turns."""
        def got():
            if imports:
                self.import_all()
            return self.history(session)
        try:
            wait_until(lambda: got() == wanted, "the history", 60)
        except AssertionError:
            expect(got(), wanted, "history after a minute")


def kill(process):
    """Kills a process and its children, as power loss or the OOM killer would."""
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


class Terminal:
    """A program in a terminal."""

    def __init__(self, machine, command, folder=None):
        self.end, other_end = pty.openpty()
        fcntl.ioctl(self.end, termios.TIOCSWINSZ, struct.pack("HHHH", 50, 180, 0, 0))
        self.process = machine.start(command, folder, stdin=other_end, stdout=other_end, stderr=other_end)
        os.close(other_end)
        self.shown = b""
        threading.Thread(target=self.read, daemon=True).start()

    def read(self):
        while True:
            try:
                data = os.read(self.end, 1 << 16)
            except OSError:  # The program has ended.
                return
            self.shown += data
            if b"\x1b[6n" in data:  # The program waits for the place of the cursor.
                os.write(self.end, b"\x1b[1;1R")

    def wait_for(self, text):
        """Waits until the program has shown a text, which must have no spaces: they may be cursor movements."""
        try:
            wait_until(lambda: text.encode() in self.shown or self.process.poll() is not None, text)
            expect(text.encode() in self.shown, True, f"shown {text}")
        except AssertionError as error:
            shown = re.sub(rb"\x1b(\[[0-9;?<>=]*[a-zA-Z]|\].*?(\x07|\x1b\\))", b" ", self.shown)
            raise AssertionError(f"{error}\n{shown.decode(errors='replace')[-2000:]}") from None

    def press(self, keys):
        os.write(self.end, keys.encode())

    def type(self, text):
        """Enters a prompt, of which the last word must be new on the screen."""
        # As a paste: the program would show keys in pieces, and take an Enter right after them for a line's end.
        self.press(f"\x1b[200~{text}\x1b[201~")
        self.wait_for(text.split()[-1])
        self.press("\r")

    def close(self):
        kill(self.process)


def json_lines(text):
    """The JSON objects among the lines. Only LF ends a line: U+2028 stands raw in the programs' texts."""
    values = []
    for line in text.split("\n"):
        try:
            values.append(json.loads(line))
        except ValueError:
            pass
    return [value for value in values if isinstance(value, dict)]
