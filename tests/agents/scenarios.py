"""Scenarios: each takes a world in which one program runs, and fails with an AssertionError."""
from api import say, shell, think
from world import expect

FIRST = "The word is KINGFISHER."
SECOND = "Print the number, says ECHO-TWO."
WORDS = [("user", FIRST), ("assistant", "Noted, ANSWER-ONE."), ("user", SECOND),
         ("assistant", "I look, ANSWER-TWO."), ("assistant", "Done, ANSWER-FOUR.")]
CALL, RESULT = "printf RESULT-THREE; printf %s -OF-IT", "RESULT-THREE-OF-IT"
#: All texts that the API must see again after a resume.
WHOLE = [text for _, text in WORDS] + [CALL, RESULT]

SCENARIOS = {}


def scenario(function):
    SCENARIOS[function.__name__] = function
    return function


def converse(machine, folder=None):
    """A conversation of two runs with a tool call; returns the session's id."""
    session = machine.talk(FIRST, say(WORDS[1][1]), folder=folder).session
    machine.world.script.add(RESULT, say(WORDS[4][1]))
    run = machine.talk(SECOND, think("Thinking."), say(WORDS[3][1]), shell(CALL), session=session, folder=folder)
    expect(run.session, session, "the session after a resume")
    return session


def goes_on(machine, session, texts=WHOLE, folder=None, prompt="Go on."):
    """Resumes a session. The API must see `texts`."""
    run = machine.talk(prompt, say("Going on."), session=session, folder=folder)
    missing = [text for text in texts if text not in run.sent]
    if missing:
        raise AssertionError(f"the resumed agent did not send {missing}, but\n{run.sent[-3000:]}")
    return run


@scenario
def recorded_and_imported(world):
    """Every word of a recording is imported, and a second import adds nothing."""
    machine = world.machine()
    session = converse(machine)
    machine.import_all()
    expect(machine.history(session), WORDS, "history")
    machine.import_all()
    expect(machine.history(session), WORDS, "history after the second import")


@scenario
def resumed_and_imported(world):
    """The import after a resume adds only the new turns."""
    machine = world.machine()
    session = converse(machine)
    machine.import_all()
    goes_on(machine, session)
    machine.import_all()
    expect(machine.history(session), [*WORDS, ("user", "Go on."), ("assistant", "Going on.")], "history")
