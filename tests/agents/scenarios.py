"""Scenarios: each takes a world in which one program runs, and fails with an AssertionError."""
import threading

from api import say, shell, think
from world import expect, expect_in, kill, wait_until

FIRST = "The word is KINGFISHER."
SECOND = "Print the number, says ECHO-TWO."
CALL, RESULT = "printf RESULT-THREE; printf %s -OF-IT", "RESULT-THREE-OF-IT"
#: The conversation of `converse`, as turns of the history.
WORDS = [("user", FIRST), ("assistant", "Noted, ANSWER-ONE."), ("user", SECOND),
         ("assistant", "I look, ANSWER-TWO."), ("assistant", "Done, ANSWER-FOUR.")]
#: The conversation of `goes_on`.
MORE = [("user", "Go on."), ("assistant", "Going on.")]
#: The texts of a resume.
WHOLE = [text for _, text in WORDS] + [CALL, RESULT]

SCENARIOS = {}


def scenario(function):
    SCENARIOS[function.__name__] = function
    return function


# --- Parts.


def converse(machine, folder=None):
    """A conversation of two runs with a tool call; returns the session's id."""
    session = machine.talk(FIRST, say(WORDS[1][1]), folder=folder).session
    machine.world.script.add(RESULT, say(WORDS[4][1]))
    run = machine.talk(SECOND, think("Thinking."), say(WORDS[3][1]), shell(CALL), session=session, folder=folder)
    expect(run.session, session, "the session after a resume")
    return session


def converse_and_import(machine):
    session = converse(machine)
    machine.import_all()
    expect(machine.history(session), WORDS, "history after the import")
    return session


def goes_on(machine, session, texts=WHOLE, folder=None):
    """Resumes a session: the API sees `texts`, and the next import adds the new turns alone."""
    before = machine.history(session)
    run = machine.talk(MORE[0][1], say(MORE[1][1]), session=session, folder=folder)
    expect_in(run.sent, texts, "the resumed agent's request")
    expect(run.session, session, "the session after a resume")
    machine.import_all()
    expect(machine.history(session), before + MORE, "history after the resume")


# --- Read right.


@scenario
def imported(world):
    """Every word of a recording is imported, and a second import adds nothing."""
    machine = world.machine()
    session = converse_and_import(machine)
    machine.import_all()
    expect(machine.history(session), WORDS, "history after the second import")


@scenario
def resumed(world):
    """The import after a resume adds only the new turns."""
    machine = world.machine()
    session = converse_and_import(machine)
    goes_on(machine, session)


@scenario
def forked(world):
    """A fork has the words of its parent, and the parent keeps its own."""
    machine = world.machine()
    session = converse(machine)
    fork = machine.talk("Turn left.", say("Left."), session=session, fork=True)
    expect_in(fork.sent, WHOLE, "the fork's request")
    machine.talk("Straight on.", say("On."), session=session)
    for _ in range(2):
        machine.import_all()
        expect(machine.history(session), [*WORDS, ("user", "Straight on."), ("assistant", "On.")], "the parent")
        expect(machine.history(fork.session), [*WORDS, ("user", "Turn left."), ("assistant", "Left.")], "the fork")


@scenario
def killed_while_answering(world):
    """Imports beside a running agent and after its death keep each word once."""
    machine = world.machine()
    session = converse(machine)
    process, never = begin_answer(machine, session)
    begun = [*WORDS, ("user", "A long answer, please."), ("assistant", "It begins.")]
    for _ in range(2):
        machine.import_all()
        expect(machine.history(session), begun, "history beside the running agent")
    kill(process)
    never.set()
    machine.import_all()
    expect(machine.history(session), begun, "history after the death")
    goes_on(machine, session, WHOLE + ["A long answer, please.", "It begins.", "HAS-BEGUN"])


def begin_answer(machine, session):
    """Starts an agent that waits in vain for the rest of its answer; returns it when the first part is recorded."""
    never = threading.Event()
    machine.world.script.add("A long answer", say("It begins."), shell("printf %s-BEGUN HAS"))
    machine.world.script.add("HAS-BEGUN", say("Never said."), hold=never)
    process = machine.start(machine.program.command("A long answer, please.", session))
    wait_until(lambda: "HAS-BEGUN" in machine.recording(session).read_text(), "the recorded answer")
    return process, never
