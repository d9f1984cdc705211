"""Parts that are started before broker and store work."""

from __future__ import annotations

import os
import select
import subprocess
import sys

from runtime.system.start_gate import VARIABLE, Gate, wait

CODE = """
import os, sys
from runtime.system.start_gate import wait
print("imported", flush=True)
wait(os.environ)
print("on", len([name for name in os.environ if name == "TUNDISH_GATE_FD"]), flush=True)
"""


def held(gate: Gate) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", CODE],
        env={**os.environ, **gate.environ},
        pass_fds=(gate.fd,),
        stdout=subprocess.PIPE,
        text=True,
    )


def says(process: subprocess.Popen[str]) -> str:
    assert process.stdout
    return process.stdout.readline().strip()


def test_who_is_held_goes_on_when_the_gate_opens_and_does_not_hand_its_number_on() -> None:
    gate = Gate()
    with held(gate) as process:
        assert says(process) == "imported"
        assert process.stdout
        assert not select.select([process.stdout], [], [], 0.2)[0], "it waits"
        gate.open()
        assert says(process) == "on 0"
    assert process.returncode == 0


def test_who_comes_later_is_not_held() -> None:
    gate = Gate()
    gate.open()
    gate.open()
    with held(gate) as process:
        assert [says(process), says(process)] == ["imported", "on 0"]


def test_a_number_that_leads_nowhere_holds_nobody() -> None:
    ear, mouth = os.pipe()
    os.close(ear)
    os.close(mouth)
    environ = {VARIABLE: str(ear), "OTHER": "1"}
    wait(environ)
    assert environ == {"OTHER": "1"}
    wait(environ)
