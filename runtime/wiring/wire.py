"""Wiring a MinIO: its target, a restart when somebody allows it, and a rule in each bucket. Twice does no harm."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import replace

from runtime.errors import BadInput
from runtime.wiring import rules
from runtime.wiring.lines import Buckets
from runtime.wiring.minio import MinioServer
from runtime.wiring.target import NotWired, Target

RESTART_SECONDS = 90.0
_POLL_SECONDS = 0.2
Ask = Callable[[str], bool]
Say = Callable[[str], None]


class Wiring:
    """One run. `ask` is asked before anything that others notice, `say` hears what was done. Raises NotWired."""

    def __init__(self, server: MinioServer, ask: Ask, say: Say) -> None:
        self._server, self._ask, self._say = server, ask, say

    def target(self, target: Target) -> str:
        """Make the server know the target and use it; returns its ARN. Raises NoAdministration."""
        known = self._server.targets(target.subsystem)
        twin = next((name for name, given in known.items() if _same(target.settings, given)), None)
        target = target if twin is None else replace(target, name=twin)
        arn = self._arn(target)
        if twin is None:
            self._set(target, known.get(target.name, {}))
        elif arn:
            self._say(f"The server sends to {target.place} already ({target.subsystem}:{target.name}).")
            return arn
        return self._restart(target)

    def buckets(self, arn: str, buckets: Buckets) -> None:
        """Add what is missing to each bucket's notification configuration."""
        for bucket, wanted in buckets.items():
            self._bucket(arn, bucket, wanted)

    def _set(self, target: Target, before: Mapping[str, str]) -> None:
        name = f"{target.subsystem}:{target.name}"
        if fixed := before.get("env"):
            raise NotWired(
                f"The server's own environment sets {fixed} of {name}, and that counts more than what it is told. "
                "Change it there, or choose another name with --name."
            )
        there = before.get("endpoint") or before.get("address")
        if there and there != target.place and not self._ask(f"{name} sends to {there} now. Let it send here?"):
            raise NotWired(f"{name} was left as it is. Choose another name with --name.")
        self._server.set(target)
        self._say(f"Set {name}: it sends to {target.place}.")

    def _restart(self, target: Target) -> str:
        question = "The server takes this up when it starts: its clients fail for some seconds. Restart it now?"
        if not self._ask(question):
            raise NotWired("The target is set and not in use yet. Restart the server, then run this command again.")
        self._server.restart()
        began = time.monotonic()
        while time.monotonic() - began < RESTART_SECONDS:
            time.sleep(_POLL_SECONDS)
            if arn := self._arn(target, up_for=time.monotonic() - began + 1):
                self._say(f"The server is back after {time.monotonic() - began:.1f} s.")
                return arn
        raise NotWired(
            f"The server does not use {target.subsystem}:{target.name} {RESTART_SECONDS:.0f} s after it was told to "
            "restart. Look at its log, restart it, then run this command again."
        )

    def _arn(self, target: Target, up_for: float | None = None) -> str:
        """The target's ARN where the server uses it (and has run for at most so many seconds); else an empty string."""
        try:
            told = self._server.info()
        except NotWired:
            if up_for is None:
                raise
            return ""  # it is starting
        uptimes = [server.get("uptime", 0) for server in told.get("servers") or ()]
        if up_for is not None and any(uptime > up_for for uptime in uptimes):
            return ""
        wanted = [target.name, target.kind]
        return next((arn for arn in told.get("sqsARN") or () if arn.split(":")[-2:] == wanted), "")

    def _bucket(self, arn: str, bucket: str, wanted: list[str]) -> None:
        before = self._server.configuration(bucket)
        xml, added = rules.merged(before, arn, wanted)
        if not added:
            self._say(f"{bucket}: wired already.")
            return
        try:
            self._server.set_configuration(bucket, xml)
        except BadInput as error:
            raise NotWired(f"{error} Nothing was changed in {bucket}; does the server know {arn}?") from error
        if rules.merged(self._server.configuration(bucket), arn, wanted)[1]:
            raise NotWired(f"The rule that was added to {bucket} is not there. Does somebody else change it just now?")
        others = len(rules.arns(before)) if before.strip() else 0
        kept = f"; {others} that were there are kept" if others else ""
        self._say(f"{bucket}: added a rule for {', '.join(one or 'every key' for one in added)}{kept}.")


def _same(wanted: Mapping[str, str], given: Mapping[str, str]) -> bool:
    return given.get("enable", "on") == "on" and all(given.get(key, "") == value for key, value in wanted.items())
