"""`turnkeep hook` keeps what the agents report."""
from api import say
from world import expect, wait_until

from .parts import FIRST, WORDS, converse, goes_on, scenario


@scenario
def hooks(world):
    """The hooks of the agent keep the words without an import."""
    machine = world.machine()
    machine.set_up(settings=world.program.hooks)
    session = converse(machine)
    # Codex does not wait for its hook. A hook may not see the words between two calls of tools.
    wait_until(lambda: set(machine.history(session)) >= {WORDS[0], WORDS[1], WORDS[2], WORDS[4]}, "the words")
    machine.import_all()
    expect(machine.history(session), WORDS, "history after an import")
    goes_on(machine, session)


@scenario
def hooks_without_recording(world):
    """A session that the agent does not record is kept by its hooks."""
    machine = world.machine()
    machine.set_up(settings=world.program.hooks)
    session = machine.talk(FIRST, say(WORDS[1][1]), options=world.program.unrecorded).session
    expect(machine.recordings(), [], "recordings")
    machine.wait_for_history(session, WORDS[:2])


@scenario
def hooks_without_store(world):
    """The agent does not notice that its hooks can't open the store."""
    machine = world.machine()
    machine.set_up(settings=world.program.hooks)
    store, machine.store = machine.store, machine.home
    session = converse(machine)
    machine.store = store
    machine.import_all()
    expect(machine.history(session), WORDS, "history after an import")
