"""Recordings are lost, put back, and resumed; also on another machine."""
import os
import shutil
import sqlite3
import threading
import time

from api import call, say, shell
from world import expect, expect_in, wait_until

from .parts import (
    MORE, SPOKEN, WHOLE, WORDS, converse, converse_and_import, goes_on, is_lost, lose_recordings, scenario)


@scenario
def restored(world):
    """The recording is deleted, restored byte for byte, and resumed."""
    machine = world.machine()
    session = converse_and_import(machine)
    path = machine.recording(session)
    recorded = path.read_bytes()
    lose_recordings(machine)
    is_lost(machine, session)
    machine.turnkeep("restore", machine.task(session))
    expect(machine.recordings(), [path], "recordings")
    expect(path.read_bytes(), recorded, "the recording")
    goes_on(machine, session)


@scenario
def restored_again(world):
    """What was said after a restore is kept and restored as well."""
    machine = world.machine()
    session = converse_and_import(machine)
    for _ in range(2):
        lose_recordings(machine)
        machine.turnkeep("restore", machine.task(session))
        goes_on(machine, session)
    lose_recordings(machine)
    machine.turnkeep("restore", machine.task(session))
    expect(machine.history(session), WORDS + MORE + MORE, "history")
    goes_on(machine, session)


@scenario
def restored_into_new_home(world):
    """The whole configuration folder is gone, with the databases of the agent."""
    machine = world.machine()
    session = converse_and_import(machine)
    shutil.rmtree(machine.config)
    machine.set_up()
    machine.turnkeep("restore", machine.task(session))
    goes_on(machine, session)


@scenario
def restored_old_recording(world):
    """A recording of long ago is restored with the time of now, so that the agent's clean-up leaves it."""
    machine = world.machine()
    session = converse(machine)
    long_ago = time.time() - 60 * 86400
    path = machine.recording(session)
    os.utime(path, (long_ago, long_ago))
    machine.import_all()
    lose_recordings(machine)
    machine.turnkeep("restore", machine.task(session))
    if path.stat().st_mtime < long_ago + 59 * 86400:
        raise AssertionError("the restored file has the old time")
    if world.program.backend == "claude":
        clean_up(machine, path.parent)
    goes_on(machine, session)


def clean_up(machine, folder):
    """Runs the agent until it has deleted an old recording."""
    old = folder / "00000000-0000-4000-8000-000000000000.jsonl"
    old.write_text("{}\n")
    os.utime(old, (0, 0))
    end = threading.Event()
    machine.world.script.add("Wait.", say("I wait."), hold=end)
    process = machine.start(machine.program.command("Wait."))
    try:
        wait_until(lambda: not old.exists(), "the agent's clean-up")
    finally:
        end.set()
    process.communicate()


@scenario(only="claude")
def restored_side_files(world):
    """The files of a sub-agent and of a large result are put back beside the recording."""
    machine = world.machine()
    world.script.add("Count", call("Task", description="Counts", prompt="SUB-TASK", subagent_type="general-purpose",
                                   run_in_background=False))
    world.script.add("SUB-TASK", say("SUB-ANSWER"))
    world.script.add("SUB-ANSWER", shell("seq 1 60000"))
    session = machine.talk("Count, please.", say(""), options=["--allowedTools", "Bash,Task,Agent"]).session
    folder = machine.recording(session).with_suffix("")
    files = contents(folder)
    expect({path.parts[0] for path in files}, {"subagents", "tool-results"}, "side files")
    machine.import_all()
    lose_recordings(machine)
    machine.turnkeep("restore", machine.task(session))
    expect(contents(folder), files, "side files after the restore")
    machine.talk(MORE[0][1], say(MORE[1][1]), session=session)


def contents(folder):
    return {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@scenario
def restored_fork(world):
    """A fork and its parent are lost; the fork is restored and resumed."""
    machine = world.machine()
    session = converse(machine)
    fork = machine.talk("Turn left.", say("Left."), session=session, fork=True).session
    machine.import_all()
    lose_recordings(machine)
    machine.turnkeep("restore", machine.task(fork))
    goes_on(machine, fork, WHOLE + ["Turn left.", "Left."])


@scenario
def longer_recording_stays(world):
    """Restore leaves a recording that is longer than the kept one, unless forced."""
    machine = world.machine()
    session = converse_and_import(machine)
    kept = machine.recording(session).read_bytes()
    machine.talk("Unkept.", say("Yes."), session=session)
    longer = machine.recording(session).read_bytes()
    machine.turnkeep("restore", machine.task(session))
    expect(machine.recording(session).read_bytes(), longer, "the recording")
    machine.turnkeep("restore", machine.task(session), "--force")
    expect(machine.recording(session).read_bytes(), kept, "the recording after --force")


@scenario
def restored_from_words(world):
    """Only words are kept: the agent gets them all, and the next import doubles none."""
    machine = world.machine()
    session = converse_and_import(machine, "--words-only")
    lose_recordings(machine)
    expect_in(machine.turnkeep("restore", machine.task(session)).all, ["tool calls"], "the warning")
    goes_on(machine, session, SPOKEN)
    lose_recordings(machine)
    machine.turnkeep("restore", machine.task(session))
    goes_on(machine, session, SPOKEN + [text for _, text in MORE])


@scenario
def restored_cut_recording(world):
    """A kept recording that ends within a line is restored up to its last whole line."""
    machine = world.machine()
    session = converse(machine)
    path = machine.recording(session)
    path.write_bytes(path.read_bytes() + b'{"type":"user","mess')
    machine.import_all()
    lose_recordings(machine)
    machine.turnkeep("restore", machine.task(session))
    goes_on(machine, session)


@scenario
def restored_from_damaged_store(world):
    """A kept recording that is damaged in the store is not given to the agent; the words are."""
    machine = world.machine()
    session = converse_and_import(machine)
    lose_recordings(machine)
    damage_files(machine.store)
    machine.turnkeep("restore", machine.task(session))
    goes_on(machine, session, SPOKEN)


def damage_files(path):
    """Changes bytes of the kept files in a store."""
    store = sqlite3.connect(path)
    store.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    parts = [data[-60:-20] for data, in store.execute("SELECT data FROM recording_chunks")]
    store.close()
    content = path.read_bytes()
    for part in parts:
        content = content.replace(part, bytes(len(part)))
    path.write_bytes(content)


# --- Other folders, other machines.


@scenario
def folder_gone(world):
    """The working folder is gone; the session goes on in another."""
    machine = world.machine()
    session = converse_and_import(machine)
    lose_recordings(machine)
    shutil.rmtree(machine.app)
    other = machine.home / "other.folder"
    other.mkdir()
    machine.turnkeep("restore", machine.task(session), "--folder", other)
    goes_on(machine, session, folder=other)


@scenario
def other_machine(world):
    """A store on PostgreSQL: the session goes on under another home, in another folder."""
    address = world.postgres()
    a, b = world.machine("a"), world.machine("b")
    a.store = b.store = address
    session = converse_and_import(a)
    goes_on_elsewhere(a, b, session)


@scenario
def copied_to_other_machine(world):
    """The store is copied to PostgreSQL and from there to the other machine."""
    address = world.postgres()
    a, b = world.machine("a"), world.machine("b")
    session = converse_and_import(a)
    a.turnkeep("copy", "--from", a.store, "--to", address)
    b.turnkeep("copy", "--from", address, "--to", b.store)
    goes_on_elsewhere(a, b, session)


@scenario
def exported_to_other_machine(world):
    """The store is exported, and imported on the other machine."""
    a, b = world.machine("a"), world.machine("b")
    session = converse_and_import(a)
    export = world.folder / "export.jsonl"
    a.turnkeep("export", export)
    b.turnkeep("import", "--format", "jsonl", export)
    goes_on_elsewhere(a, b, session)


@scenario
def backed_up_to_other_machine(world):
    """The store is backed up, and the backup restored on the other machine."""
    a, b = world.machine("a"), world.machine("b")
    session = converse_and_import(a)
    backup = world.folder / "backup.db"
    a.turnkeep("backup", backup)
    b.turnkeep("backup", "restore", backup)
    goes_on_elsewhere(a, b, session)


def goes_on_elsewhere(a, b, session):
    """Machine `a` is gone, and machine `b` goes on; its store has no finding."""
    recorded = a.recording(session).read_bytes()
    shutil.rmtree(a.home)
    b.turnkeep("restore", b.task(session), "--folder", f"{a.app}={b.app}")
    expect(b.recording(session).read_bytes(), recorded, "the recording")
    goes_on(b, session)
    b.turnkeep("check")
