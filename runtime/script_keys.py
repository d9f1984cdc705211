"""Names in Redis, and beginnings of names, as the Lua scripts know them: `K.record .. id`."""

from __future__ import annotations

from runtime import keys

FOR_SCRIPTS = {
    "record": keys.invocation(""),
    "queued": keys.QUEUED,
    "running": keys.RUNNING,
    "due": keys.DUE,
    "all": keys.ALL,
    "by": keys.by_function(""),
    "tree": keys.tree(""),
    "expiring": keys.EXPIRING,
    "parked": keys.PARKED,
    "holders": keys.holders(""),
    "freed": keys.FREED,
    "paused": keys.PAUSED,
    "rate": keys.rate(""),
    "circuit": keys.circuit(""),
    "idem": keys.idem(""),
    "callbacks": keys.CALLBACKS,
    "log": keys.log(""),
    "ended": keys.ended(""),
    "ended_channel": keys.ENDED_CHANNEL,
    "stop_channel": keys.STOP_CHANNEL,
    "totals": keys.TOTALS,
    "chains": keys.CHAINS,
    "chain": keys.chain(""),
    "fan": keys.fan(""),
    "sent": keys.sent(""),
    "gather": keys.PREFIX + "gather:",
    "gathering": keys.GATHERING,
    "gathered": keys.GATHERED,
}
