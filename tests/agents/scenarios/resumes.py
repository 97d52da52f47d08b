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
