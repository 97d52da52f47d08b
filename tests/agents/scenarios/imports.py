"""Every word is imported once, in its place."""
import threading

from api import say, shell
from world import expect, expect_in, kill, wait_until

from .parts import WHOLE, WORDS, begin_answer, converse, converse_and_import, goes_on, lose_recordings, scenario


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
def odd_characters(world):
    """Prompts and answers with line ends, quotes, tags and all planes of Unicode come back unchanged."""
    machine = world.machine()
    prompt = 'ODD-PROMPT <b>"quoted"</b> \\ back\n\n\ttab \u2028 \u00e4 \U0001f41f e\u0301 $HOME `x` end'
    answer = '<thinking>no</thinking>\n```json\n{"a": "\\u0041"}\n```\n\u2029 \U0001f980 ODD-ANSWER'
    world.script.add("ODD-PROMPT", say(answer))
    session = machine.run(world.program.command(prompt)).session
    said = [("user", prompt), ("assistant", answer)]
    machine.import_all()
    expect(machine.history(session), said, "history")
    lose_recordings(machine)
    machine.turnkeep("restore", machine.task(session))
    goes_on(machine, session, [prompt, answer])
    machine.turnkeep("recording", "rm", machine.task(session))
    lose_recordings(machine)
    machine.turnkeep("restore", machine.task(session))
    goes_on(machine, session, [prompt, answer])


@scenario
def imported_into_task(world):
    """The words of a session go to the task that an orchestrator has bound to it."""
    machine = world.machine()
    session = converse(machine)
    machine.bind("orchestrated", session)
    machine.import_all()
    expect(machine.history(session), WORDS, "history of the task")
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


# Codex gives up an answer that has not begun when the user says more, so there is no such answer to keep.
@scenario(only="claude")
def typed_while_answering(world):
    """A prompt that is typed before an answer begins is a word after it."""
    machine = world.machine()
    answered = threading.Event()
    world.script.add("FIRST-PROMPT", say("FIRST-ANSWER"), hold=answered)
    world.script.add("SECOND-PROMPT", say("LAST-ANSWER"))
    terminal = machine.terminal(world.program.terminal_command())
    terminal.wait_for(world.program.ready)
    terminal.type("The FIRST-PROMPT")
    world.script.wait(1)
    terminal.type("The SECOND-PROMPT")
    answered.set()
    terminal.wait_for("LAST-ANSWER")
    session, = machine.sessions()
    machine.wait_for_history(session, [
        ("user", "The FIRST-PROMPT"), ("assistant", "FIRST-ANSWER"), ("user", "The SECOND-PROMPT"),
        ("assistant", "LAST-ANSWER")], imports=True)


@scenario
def typed_while_tool_runs(world):
    """A prompt that is typed while a tool runs is a word in its place."""
    machine = world.machine()
    running, go = machine.app / "running", machine.app / "go"
    world.script.add("FIRST-PROMPT", say("FIRST-ANSWER"),
                     shell(f"touch {running}; until [ -e {go} ]; do sleep 0.1; done; printf %s-RESULT THE"))
    world.script.add("SECOND-PROMPT", say("LAST-ANSWER"))
    world.script.add("THE-RESULT", say("LAST-ANSWER"))
    terminal = machine.terminal(world.program.terminal_command())
    terminal.wait_for(world.program.ready)
    terminal.type("The FIRST-PROMPT")
    wait_until(running.exists, "the tool")
    terminal.type("The SECOND-PROMPT")
    go.touch()
    terminal.wait_for("LAST-ANSWER")
    session, = machine.sessions()
    machine.wait_for_history(session, [
        ("user", "The FIRST-PROMPT"), ("assistant", "FIRST-ANSWER"), ("user", "The SECOND-PROMPT"),
        ("assistant", "LAST-ANSWER")], imports=True)


@scenario
def interrupted(world):
    """An answer that is interrupted with Escape keeps its words."""
    machine = world.machine()
    world.script.add("FIRST-PROMPT", say("BEGUN-ANSWER"), shell("printf %s-RESULT THE"))
    world.script.add("THE-RESULT", say("Never said."), hold=threading.Event())
    world.script.add("SECOND-PROMPT", say("LAST-ANSWER"))
    terminal = machine.terminal(world.program.terminal_command())
    terminal.wait_for(world.program.ready)
    terminal.type("The FIRST-PROMPT")
    world.script.wait(2)
    terminal.press("\x1b")
    terminal.wait_for("nterrupted")
    terminal.type("The SECOND-PROMPT")
    terminal.wait_for("LAST-ANSWER")
    session, = machine.sessions()
    machine.wait_for_history(session, [
        ("user", "The FIRST-PROMPT"), ("assistant", "BEGUN-ANSWER"), ("user", "The SECOND-PROMPT"),
        ("assistant", "LAST-ANSWER")], imports=True)
