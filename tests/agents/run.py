#!/usr/bin/env python3
"""Runs scenarios with the real programs, and prints a table. See README.md.

usage: run.py [--list] [--keep FOLDER] [SCENARIO…]
"""
import argparse
import os
import sys
import tempfile
import time
import traceback
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from programs import installed
from scenarios import SCENARIOS
from world import TURNKEEP, World


def try_scenario(name, program, folder):
    """Returns the failure of a scenario, or None."""
    folder.mkdir(parents=True)
    world = World(folder, program)
    try:
        SCENARIOS[name](world)
    except AssertionError as error:
        return str(error)
    except Exception:
        return traceback.format_exc()
    finally:
        world.close()
    return None


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("names", metavar="SCENARIO", nargs="*", help="all if none is named")
    parser.add_argument("--list", action="store_true", help="only list the scenarios")
    parser.add_argument("--keep", metavar="FOLDER", type=Path, help="keep the homes in this new folder")
    arguments = parser.parse_args()
    if arguments.list:
        for name, function in SCENARIOS.items():
            print(f"{name:28} {function.__doc__.splitlines()[0]}")
        return
    unknown = set(arguments.names) - set(SCENARIOS)
    if unknown:
        parser.error(f"no such scenario: {', '.join(sorted(unknown))}")
    if not TURNKEEP.exists():
        parser.error(f"{TURNKEEP} is not built")
    with tempfile.TemporaryDirectory(prefix="turnkeep-agents-", ignore_cleanup_errors=True) as temporary:
        folder = arguments.keep or Path(temporary)
        folder.mkdir(exist_ok=True)
        programs = installed(Path(os.environ.get("TURNKEEP_AGENTS_DIR", folder / "programs")).resolve())
        if not try_all(arguments.names or list(SCENARIOS), programs, folder):
            sys.exit(1)


def try_all(names, programs, folder):
    began = time.monotonic()
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        running = {
            (name, program.name): pool.submit(
                try_scenario, name, program, folder / f"{name}@{program.name.replace(' ', '-')}")
            for name in names for program in programs
            if SCENARIOS[name].only in (None, program.backend)}
        failures = {}
        try:
            for key, future in running.items():
                if failure := future.result():
                    failures[key] = failure
                    print(f"== {key[0]}, {key[1]}\n{failure}\n", flush=True)
        except KeyboardInterrupt:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    print(f"{'':28}" + "".join(f"{program.name:>16}" for program in programs))
    for name in names:
        keys = [(name, program.name) for program in programs]
        marks = ["FAILED" if key in failures else "ok" if key in running else "-" for key in keys]
        print(f"{name:28}" + "".join(f"{mark:>16}" for mark in marks))
    print(f"{len(running) - len(failures)} of {len(running)} ok in {time.monotonic() - began:.0f} s")
    return not failures


if __name__ == "__main__":
    main()
