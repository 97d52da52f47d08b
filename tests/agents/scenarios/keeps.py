"""Imports keep the files of sessions byte for byte."""
import threading

from api import say
from world import expect, expect_in, json_lines, kill

from .parts import MORE, WORDS, begin_answer, converse, goes_on, lose_recordings, scenario


@scenario
def imported_all_the_time(world):
    """Imports beside all that happens to a session end where one import of the whole ends."""
    machine = world.machine()
    stop, failures = threading.Event(), []

    def import_until_stopped():
        try:
            while not stop.wait(0.02):
                if machine.recordings():
                    machine.import_all()
        except AssertionError as failure:
            failures.append(failure)

    importer = threading.Thread(target=import_until_stopped)
    importer.start()
    try:
        session = converse(machine)
        process, never = begin_answer(machine, session)
        kill(process)
        never.set()
        machine.talk(MORE[0][1], say(MORE[1][1]), session=session)
        fork = machine.talk("Turn left.", say("Left."), session=session, fork=True).session
        machine.talk("Straight on.", say("On."), session=session)
        machine.talk("Left again.", say("Left of left."), session=fork)
    finally:
        stop.set()
        importer.join()
    expect(failures, [], "failed imports")
    machine.import_all()
    live = [(machine.history(id), kept_files(machine, id)) for id in (session, fork)]
    machine.store = machine.home / "second.db"
    machine.import_all()
    expect(live, [(machine.history(id), kept_files(machine, id)) for id in (session, fork)], "the store")
    expect_in(kept_files(machine, session), [machine.recording(session).read_text()], "the kept file")


@scenario(only="claude")
def compacted(world):
    """The words before a compaction stay; after a loss the agent goes on from its summary."""
    machine = world.machine()
    session = converse(machine)
    world.script.add("detailed summary", say("<summary>They said SUMMED-UP.</summary>"))
    machine.run(world.program.command("/compact", session))
    machine.import_all()
    expect([turn for turn in machine.history(session) if turn in WORDS], WORDS, "history")
    lose_recordings(machine)
    machine.turnkeep("restore", machine.task(session))
    goes_on(machine, session, ["SUMMED-UP"])


def kept_files(machine, session):
    """The kept files of a session, as one text."""
    task = machine.task(session)
    files = json_lines(machine.turnkeep("--json", "recording", "list", task).out)
    return "".join(machine.turnkeep("recording", "cat", task, file["name"]).out for file in files)
