"""Parts of several scenarios."""
import shutil
import threading

from api import say, shell, think
from world import expect, expect_in, wait_until

FIRST = "The word is KINGFISHER."
SECOND = "Print the number, says ECHO-TWO."
CALL, RESULT = "printf RESULT-THREE; printf %s -OF-IT", "RESULT-THREE-OF-IT"
#: The conversation of `converse`, as turns of the history.
WORDS = [("user", FIRST), ("assistant", "Noted, ANSWER-ONE."), ("user", SECOND),
         ("assistant", "I look, ANSWER-TWO."), ("assistant", "Done, ANSWER-FOUR.")]
#: The conversation of `goes_on`.
MORE = [("user", "Go on."), ("assistant", "Going on.")]
#: The texts of a resume: with all of a recording, and with its words alone.
WHOLE = [text for _, text in WORDS] + [CALL, RESULT]
SPOKEN = [text for _, text in WORDS]

SCENARIOS = {}


def scenario(function=None, only=None):
    """Registers a scenario: a function of a world in which one program runs. It fails with an AssertionError."""
    if not function:
        return lambda function: scenario(function, only)
    function.only = only
    SCENARIOS[function.__name__] = function
    return function


def converse(machine, folder=None):
    """A conversation of two runs with a tool call; returns the session's id."""
    session = machine.talk(FIRST, say(WORDS[1][1]), folder=folder).session
    machine.world.script.add(RESULT, say(WORDS[4][1]))
    run = machine.talk(SECOND, think("Thinking."), say(WORDS[3][1]), shell(CALL), session=session, folder=folder)
    expect(run.session, session, "the session after a resume")
    return session


def converse_and_import(machine, *options):
    session = converse(machine)
    machine.import_all(*options)
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


def lose_recordings(machine):
    for folder in ("projects", "sessions"):
        shutil.rmtree(machine.config / folder, ignore_errors=True)
    expect(machine.recordings(), [], "recordings")


def is_lost(machine, session, folder=None):
    """The agent itself can't resume the session."""
    run = machine.run(machine.program.command("Are you there?", session), folder)
    if not run.code:
        raise AssertionError(f"the agent resumed a lost session\n{run.out[-2000:]}")


def begin_answer(machine, session):
    """Starts an agent that waits in vain for the rest of its answer, of which the first part is recorded."""
    never = threading.Event()
    machine.world.script.add("A long answer", say("It begins."), shell("printf %s-BEGUN HAS"))
    machine.world.script.add("HAS-BEGUN", say("Never said."), hold=never)
    process = machine.start(machine.program.command("A long answer, please.", session))
    wait_until(lambda: "HAS-BEGUN" in machine.recording(session).read_text(), "the recorded answer")
    return process, never
