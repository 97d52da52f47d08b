"""`turnkeep watch` keeps recordings while they grow."""
import shutil

from api import say
from world import expect, kill, wait_until

from .parts import MORE, WORDS, begin_answer, converse, goes_on, lose_recordings, scenario

BEGUN = [*WORDS, ("user", "A long answer, please."), ("assistant", "It begins.")]


@scenario
def watched(world):
    """The watch is there before the agent's folder, and beside a running, a killed and a resumed agent."""
    machine = world.machine()
    shutil.rmtree(machine.config)
    watch = machine.start(["turnkeep", "watch"])
    wait_until(lambda: machine.store.exists(), "the store")
    machine.set_up()
    session = converse(machine)
    machine.wait_for_history(session, WORDS)
    process, never = begin_answer(machine, session)
    machine.wait_for_history(session, BEGUN)
    kill(process)
    never.set()
    machine.talk(MORE[0][1], say(MORE[1][1]), session=session)
    machine.wait_for_history(session, BEGUN + MORE)
    expect(watch.poll(), None, "the end of the watch")


@scenario
def watch_killed(world):
    """The watch is killed; the next one brings all that was said meanwhile."""
    machine = world.machine()
    watch = machine.start(["turnkeep", "watch"])
    session = converse(machine)
    machine.wait_for_history(session, WORDS)
    kill(watch)
    machine.talk(MORE[0][1], say(MORE[1][1]), session=session)
    machine.start(["turnkeep", "watch"])
    machine.wait_for_history(session, WORDS + MORE)


@scenario
def watched_with_hooks(world):
    """The watch and the hooks together keep each word once."""
    machine = world.machine()
    machine.set_up(settings=world.program.hooks)
    machine.start(["turnkeep", "watch"])
    session = converse(machine)
    machine.wait_for_history(session, WORDS)
    goes_on(machine, session)


@scenario
def watched_and_restored(world):
    """Recordings that the watch alone has kept are deleted, restored and resumed beside it."""
    machine = world.machine()
    watch = machine.start(["turnkeep", "watch"])
    session = converse(machine)
    machine.wait_for_history(session, WORDS)
    lose_recordings(machine)
    machine.turnkeep("restore", machine.task(session))
    goes_on(machine, session)
    expect(watch.poll(), None, "the end of the watch")
    lose_recordings(machine)
    machine.turnkeep("restore", machine.task(session))
    expect(machine.history(session), WORDS + MORE, "history")
