"""`turnkeep resume` looks before it starts an agent, and starts it so that it works."""
import shutil

from api import say
from world import expect, expect_in

from .parts import MORE, WHOLE, WORDS, converse_and_import, lose_recordings, scenario


@scenario
def resume_headless(world):
    """`turnkeep resume --headless PROMPT --exec` is one run of the agent."""
    machine = world.machine()
    session = converse_and_import(machine)
    resumes_headless(machine, session)


@scenario
def resume_with_folder_gone(world):
    """The recording is there, the working folder is not: the agent is started elsewhere."""
    machine = world.machine()
    session = converse_and_import(machine)
    shutil.rmtree(machine.app)
    resumes_headless(machine, session)


@scenario
def resume_printed(world):
    """A shell that gets the printed command shows the conversation."""
    machine = world.machine()
    session = converse_and_import(machine)
    printed = machine.turnkeep("resume", machine.task(session)).out
    shows_conversation(machine, ["sh", "-c", printed])


@scenario
def resume_refuses(world):
    """`turnkeep resume` prints no command that can't work."""
    machine = world.machine()
    session = converse_and_import(machine)
    lose_recordings(machine)
    run = machine.turnkeep("resume", machine.task(session), fails=True)
    expect(run.out, "", "printed")
    expect_in(run.err, ["restore"], "the advice")


@scenario
def resume_restores(world):
    """`turnkeep resume --restore --exec --yes` puts the recording back and shows the conversation."""
    machine = world.machine()
    session = converse_and_import(machine)
    lose_recordings(machine)
    shows_conversation(machine, ["turnkeep", "resume", machine.task(session), "--restore", "--exec", "--yes"])


@scenario
def resume_asks(world):
    """Without `--yes` it asks, puts nothing back after a no, and the recording after a yes."""
    machine = world.machine()
    session = converse_and_import(machine)
    lose_recordings(machine)
    command = ["turnkeep", "resume", machine.task(session), "--exec"]
    terminal = machine.terminal(command, folder=machine.home)
    terminal.wait_for("?")
    terminal.press("n\n")
    terminal.process.wait()
    expect(machine.recordings(), [], "recordings after a no")
    terminal = machine.terminal(command, folder=machine.home)
    terminal.wait_for("?")
    terminal.press("y\n")
    terminal.wait_for("ANSWER-FOUR")


@scenario
def resume_restores_headless(world):
    """One command goes on after the recording and the working folder are gone."""
    machine = world.machine()
    session = converse_and_import(machine)
    lose_recordings(machine)
    shutil.rmtree(machine.app)
    resumes_headless(machine, session, "--restore", "--yes")


@scenario(only="codex")
def resume_restores_archived(world):
    """The file of an archived thread is gone, and the row of Codex' database still says archived."""
    machine = world.machine()
    session = converse_and_import(machine)
    expect(machine.run([machine.program.path, "archive", session]).code, 0, "archiving")
    machine.import_all()
    refused = machine.run(["turnkeep", "resume", machine.task(session), "--restore"])
    expect_in(refused.all, ["codex unarchive"], "the reason while it is archived")
    lose_recordings(machine)
    shutil.rmtree(machine.config / "archived_sessions")
    resumes_headless(machine, session, "--restore", "--yes")


@scenario
def resume_on_other_machine(world):
    """One command goes on under another home, in another folder."""
    a, b = world.machine("a"), world.machine("b")
    session = converse_and_import(a)
    shutil.copy(a.store, b.store)
    shutil.rmtree(a.home)
    resumes_headless(b, session, "--restore", "--yes", "--folder", f"{a.app}={b.app}")


@scenario
def resume_in_moved_home(world):
    """The agent's home was moved: Codex' database names the old places."""
    a, b = world.machine("a"), world.machine("b")
    session = converse_and_import(a)
    shutil.copy(a.store, b.store)
    shutil.copytree(a.config, b.config, dirs_exist_ok=True)
    shutil.rmtree(a.home)
    resumes_headless(b, session, "--restore", "--yes", "--folder", f"{a.app}={b.app}")


def resumes_headless(machine, session, *options):
    prompt, answer = (text for _, text in MORE)
    machine.world.script.add(prompt, say(answer))
    run = machine.turnkeep("resume", machine.task(session), "--headless", prompt, "--exec", *options,
                           "--", *machine.program.events)
    expect_in(run.sent, WHOLE, "the resumed agent's request")
    expect(run.session, session, "the session")
    machine.import_all()
    expect(machine.history(session), WORDS + MORE, "history after the resume")


def shows_conversation(machine, command):
    terminal = machine.terminal(command, folder=machine.home)
    terminal.wait_for("ANSWER-FOUR")
    terminal.close()
    machine.import_all()
    expect(len(machine.recordings()), 1, "recordings")
