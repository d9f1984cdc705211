"""Every name in Redis: type, owner, life, meaning. Nothing else in the project spells a key.

| name | type | written by | lives | meaning |
|---|---|---|---|---|
| tundish:inv:{id} | hash | submit, task, reaper | until `kept` after its end | one invocation (runtime/invocations/invocation.py) |
| tundish:queued:{queue}:{priority} | zset id → ms | submit, claim | while queued | what waits in one list of a queue; the reaper's list |
| tundish:queued | set of those names | submit | for ever, ten a queue | where to look |
| tundish:wake:{queue} | list, one token at most | submit, take | until a worker looks | there may be messages in a queue (runtime/broker/lua/take.lua) |
| tundish:running | zset id → lease end, ms | claim, finish, keeper | while running | what is being run; the reaper's list |
| tundish:due | zset id → ms | task, reaper | until due | retries and delays; the mover's list |
| tundish:ended:{state} | zset id → ms | finish | capped | terminal invocations, newest last |
| tundish:ended | channel | finish | – | ids of invocations of bucket triggers that just ended |
| tundish:reply:{gateway} | channel | finish | – | answers for the callers of one gateway |
| tundish:all | zset id → ms created | submit | as long as the record | every recorded invocation, for lists |
| tundish:by:{function} | zset id → ms created | submit | as long as the record | those of one function |
| tundish:tree:{root} | zset id → ms created | submit | as failures are kept | descendants of one root (without it) |
| tundish:expiring | zset id → ms | submit | while not started | calls that may not be started after a moment |
| tundish:parked | set of gates | claim, submit | while anything is parked | gates with calls that wait at them |
| tundish:parked:{gate} | zset id → µs accepted | claim, submit | until admitted | what waits at a gate (runtime/gates.lua) |
| tundish:holders:{gate} | zset id → ms admitted | claim, admit | until ended | who has a place at a gate |
| tundish:drain:{line} | hash | submit | 5 minutes | how fast a line of calls goes that grows long (runtime/broker/lua/_overload.lua) |
| tundish:freed | set of gates | whoever ends a call | until the upkeep looks | keys' and maps' gates with a free place and calls that wait |
| tundish:paused | hash kind:name → JSON | gateway | until resumed | functions, queues, triggers and schedules that rest |
| tundish:rate:{function} | string µs | claim, admit | while limited | theoretical arrival time of the rate limit |
| tundish:circuit:{name} | hash | finish, retry | window + open | open until, who probes |
| tundish:circuit:{name}:failures | zset attempt → ms | finish, retry | window | newest failures |
| tundish:idem:{digest} | hash | submit, finish | 24 h | an idempotency key: its body, its invocation, its answer |
| tundish:callbacks | zset id → ms | finish, callbacks | until delivered | answers that are to be posted to somebody's URL |
| tundish:fan:{parent}:{number} | hash index → answer | finish | with the parent | what the children of one map answered |
| tundish:sent:{parent} | set of ids | submit | with the parent | what it has submitted; their records may be forgotten before it ends |
| tundish:gather:{function}:{priority} | list of ids | submit | until taken | calls that wait for one gathered call |
| tundish:gather:{function}:{priority}:active | string id | submit, gather | until it ended | the newest such call that is out |
| tundish:gathering | set of those lists | submit | while any waits | where to look |
| tundish:gathered | zset id → ms | submit, gather | until begun | members of gathered calls that have not begun |
| tundish:log:{id} | stream | capture | with the record | captured output and progress of one invocation, capped |
| tundish:items:{id} | stream | generators | an hour after the newest | newest items of one generator's call, capped (runtime/attempts/items.py) |
| tundish:logs | stream | capture | capped | newest output of all invocations |
| tundish:stop | channel | cancel | – | ids of running invocations that are to stop |
| tundish:totals | hash function:state → count | finish | for ever, one field a function and state | counters for /metrics |
| tundish:metrics:times | hash kind, function, queue, bound → count | finish, retry | for ever, a few fields a function | how long calls ran, waited, took, and how often they were retried (runtime/metrics/measures.py) |
| tundish:metrics:retries | hash function → count | retry | for ever, one field a function | attempts that were repeated |
| tundish:metrics:failures | hash function, error type → count | finish | for ever, about 1,000 fields | what failures were of |
| tundish:metrics:succeeded | hash function → ms | finish | for ever, one field a function | the newest success |
| tundish:metrics:counts | hash what, of which → count | index, triggers | for ever, a field an index, kind or trigger | batches, removed parts, handed out changes |
| tundish:metrics:worker:{name} | hash | keeper | 60 s, renewed | processor time and memory of a worker |
| tundish:history | stream | beat | an hour, capped | rates, times and depths, a line every ten seconds (runtime/metrics/history.py) |
| tundish:chain:{function} | list | finish | until taken | parents that wait for one call of `function` |
| tundish:chain:{function}:active | string id | chain | until that call ends | the call that runs for them now |
| tundish:chain:{function}:ended | string ms | finish | 60 s | when the last such call ended |
| tundish:chains | set | finish | one member a function | chains with waiting parents |
| tundish:tick:{schedule}:{instant} | string | beat | 1 h + catch_up + jitter | this tick was submitted, or left out |
| tundish:schedule:{schedule} | hash | beat | 400 days after its newest tick | newest tick, its invocation, counters (runtime/schedules/state.py) |
| tundish:reload | string JSON | supervisor | for ever, one | the newest reload (runtime/system/reload_state.py) |
| tundish:process:{kind}:{name} | string JSON | every process | 10 s, renewed | who is alive and ready |
| tundish:processes | zset kind:name → ms | every process | while alive | which of those keys there are |
| tundish:outbox:{box} | string | gateway | 30 days after its last use | how far an outbox was delivered |
| tundish:held:{worker} | set of ids | keeper | 10 s, renewed | what a worker has received |
| tundish:lock:{name} | string | beat | 10 s, renewed | one reaper and mover at a time |
| tundish:events | stream | gateway | capped | raw bucket notifications, hints only |
| tundish:events:dead | stream | gateway, triggers | capped | notifications that nobody could use (runtime/buckets/event_letters.py) |
| tundish:source:{bucket} | hash | triggers | 60 s, renewed | what wakes the triggers of a bucket (runtime/buckets/source_state.py) |
| tundish:ledger:{trigger}:{bucket} | hash key → msgpack | triggers, redrive | as long as the object | what was done (runtime/buckets/documents.py) |
| tundish:flight:{trigger}:{bucket} | hash invocation → msgpack keys | triggers, redrive | until it ended | batches that are out |
| tundish:hold:{trigger}:{bucket} | string JSON | triggers, CLI | until confirmed | a sudden loss that waits for confirmation |
| tundish:budget:{trigger}:{bucket} | hash | triggers | 2 minutes | what was handed out in this minute |
| tundish:lost:{trigger}:{bucket} | string JSON | triggers | 7 days | a ledger that was lost, and made anew |
| tundish:listing:{trigger}:{bucket} | string JSON | triggers | for ever, one a trigger | end and cost of the newest full listing |
| tundish:replay:{id} | hash | gateway | 7 days after its end | what a replay was asked for (runtime/buckets/replays.py) |
| tundish:replay:{id}:{trigger} | hash | gateway, triggers | 7 days after its end | how far a replay got with one trigger |
| tundish:replay:{id}:{trigger}:open | set of keys | triggers | until it ended | what it has handed out and is not settled |
| tundish:replays:{trigger} | set of ids | gateway, triggers | until they ended | replays of one trigger that are under way |
| tundish:index:{index}:seq | string | index | for ever | the last sequence number given out |
| tundish:index:{index}:epoch | string | index | for ever | the last epoch of a collection in Qdrant (runtime/index/remote.py) |
| tundish:index:{index}:texts | hash document → etag:seq | index | for ever, one field a document | newest version of every document that was embedded |
| tundish:index:{index}:build | string | index | 60 s | who builds now |
| tundish:index:{index}:migration | hash | index, gateway | for ever, one an index | how far the migration to another model is |
| tundish:index:{index}:compact | string | index | 60 s | who compacts now |
| tundish:index:{index}:compact_asked | string | index | 60 s | that a compaction was asked for |
| tundish:usage | set of tenants | submit, finish | for ever, one member a tenant | tenants that have used anything |
| tundish:usage:{tenant}:{month} | hash day:what → amount | submit, finish, gateway, triggers | 400 days | what a tenant used: calls, ms, documents, bytes (runtime/callers/usage.py) |
| tundish:usage:counted | zset BUCKET/KEY → ms | gateway, triggers | a day | objects that were counted when they were put |
| tundish:rate:tenant:{tenant} | string µs | submit, gateway | while limited | theoretical arrival time of a tenant's rate |
| tundish:rate:key:{key} | string µs | submit, gateway | while limited | that of an API key's rate |
| tundish:of:{tenant} | zset id → ms created | submit | as long as the record | invocations of a tenant other than the default one |
| tundish:keys:all | hash name → JSON | gateway | until revoked, or a month after its expiry | API keys, without their secrets (runtime/callers/api_keys.py) |
| tundish:keys:used | hash name → seconds | gateway | as long as the key | when each was last used, to the minute |
| tundish:index:swap | channel | index | – | {"index", "generation", "version"} |
"""

from __future__ import annotations

from runtime import keys_documents

PREFIX = keys_documents.PREFIX

QUEUED = PREFIX + "queued"
PROCESSES = PREFIX + "processes"
RUNNING = PREFIX + "running"
DUE = PREFIX + "due"
ENDED_CHANNEL = PREFIX + "ended"
TOTALS = PREFIX + "totals"
HISTORY = PREFIX + "history"
METRICS_TIMES = PREFIX + "metrics:times"
METRICS_RETRIES = PREFIX + "metrics:retries"
METRICS_FAILURES = PREFIX + "metrics:failures"
METRICS_SUCCEEDED = PREFIX + "metrics:succeeded"
METRICS_COUNTS = PREFIX + "metrics:counts"
RELOAD = PREFIX + "reload"
CHAINS = PREFIX + "chains"
EVENTS = PREFIX + "events"
EVENTS_DEAD = PREFIX + "events:dead"
SWAP_CHANNEL = PREFIX + "index:swap"

USAGE = PREFIX + "usage"
COUNTED = PREFIX + "usage:counted"

API_KEYS = PREFIX + "keys:all"
API_KEYS_USED = PREFIX + "keys:used"

ALL = PREFIX + "all"
EXPIRING = PREFIX + "expiring"
PARKED = PREFIX + "parked"
FREED = PREFIX + "freed"
PAUSED = PREFIX + "paused"
CALLBACKS = PREFIX + "callbacks"
GATHERING = PREFIX + "gathering"
GATHERED = PREFIX + "gathered"
LOGS = PREFIX + "logs"
STOP_CHANNEL = PREFIX + "stop"

EVENTS_CAP = 100_000
"""Entries kept in the stream of notifications. They are hints: what falls off is found by the listing."""

source = keys_documents.source
ledger = keys_documents.ledger
flight = keys_documents.flight
hold = keys_documents.hold
budget = keys_documents.budget
lost = keys_documents.lost
listing = keys_documents.listing
replay = keys_documents.replay
replay_job = keys_documents.replay_job
replay_open = keys_documents.replay_open
replays = keys_documents.replays
index_seq = keys_documents.index_seq
index_epoch = keys_documents.index_epoch
index_texts = keys_documents.index_texts
index_build = keys_documents.index_build
index_migration = keys_documents.index_migration
index_removal = keys_documents.index_removal
index_compact = keys_documents.index_compact
index_compact_asked = keys_documents.index_compact_asked


def queued(queue: str, priority: int) -> str:
    return f"{QUEUED}:{queue}:{priority}"


def invocation(task_id: str) -> str:
    return f"{PREFIX}inv:{task_id}"


def wake(queue: str) -> str:
    return f"{PREFIX}wake:{queue}"


def ended(state: str) -> str:
    return f"{PREFIX}ended:{state}"


def reply(gateway: str) -> str:
    return f"{PREFIX}reply:{gateway}"


def chain(function: str) -> str:
    return f"{PREFIX}chain:{function}"


def chain_active(function: str) -> str:
    return f"{PREFIX}chain:{function}:active"


def tick(schedule: str, instant: str) -> str:
    return f"{PREFIX}tick:{schedule}:{instant}"


def schedule(name: str) -> str:
    return f"{PREFIX}schedule:{name}"


def chain_ended(function: str) -> str:
    return f"{PREFIX}chain:{function}:ended"


def process(kind: str, name: str) -> str:
    return f"{PREFIX}process:{kind}:{name}"


def held(worker: str) -> str:
    return f"{PREFIX}held:{worker}"


def outbox(box: str) -> str:
    return f"{PREFIX}outbox:{box}"


def metrics_worker(name: str) -> str:
    return f"{PREFIX}metrics:worker:{name}"


def lock(name: str) -> str:
    return f"{PREFIX}lock:{name}"


def by_function(function: str) -> str:
    return f"{PREFIX}by:{function}"


def of_tenant(tenant: str) -> str:
    return f"{PREFIX}of:{tenant}"


def usage(tenant: str, month: str) -> str:
    """`month` is like 2026-03, in UTC."""
    return f"{USAGE}:{tenant}:{month}"


def tree(root: str) -> str:
    return f"{PREFIX}tree:{root}"


def parked(gate: str) -> str:
    return f"{PARKED}:{gate}"


def holders(gate: str) -> str:
    return f"{PREFIX}holders:{gate}"


def rate(function: str) -> str:
    return f"{PREFIX}rate:{function}"


def rate_of(kind: str, name: str) -> str:
    """That of a `tenant` or of a `key`; no function has a colon in its name."""
    return f"{PREFIX}rate:{kind}:{name}"


def drain(line: str) -> str:
    return f"{PREFIX}drain:{line}"


def circuit(name: str) -> str:
    return f"{PREFIX}circuit:{name}"


def idem(digest: str) -> str:
    return f"{PREFIX}idem:{digest}"


def fan(name: str) -> str:
    return f"{PREFIX}fan:{name}"


def sent(parent: str) -> str:
    return f"{PREFIX}sent:{parent}"


def gather(function: str, priority: int) -> str:
    return f"{PREFIX}gather:{function}:{priority}"


def log(task_id: str) -> str:
    return f"{PREFIX}log:{task_id}"


def items(task_id: str) -> str:
    return f"{PREFIX}items:{task_id}"


# Celery's side of the broker: kombu spreads one queue over a list per priority step.

PRIORITY_SEPARATOR = "\x06\x16"
PRIORITY_STEPS = tuple(range(10))
DEFAULT_PRIORITY = 5


def transport_priority(priority: int) -> int:
    """Our 9 (first) … 0 (last) to Redis transports' 0 (first) … 9 (last)."""
    return 9 - priority


def queue_list(queue: str, step: int) -> str:
    """The list in which kombu's Redis transport keeps the messages of `queue` with transport priority `step`."""
    return f"{queue}{PRIORITY_SEPARATOR}{step}" if step else queue


def queue_lists(queue: str) -> list[str]:
    """All lists of a queue, the one served first in front."""
    return [queue_list(queue, step) for step in PRIORITY_STEPS]
