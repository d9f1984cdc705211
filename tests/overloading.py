"""A queue that is flooded: calls of tenants that come as requests do, and a hand that runs them in a worker's place."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import redis

from runtime import keys
from runtime.attempts.attempt import Attempt, claim, finish, repeat
from runtime.config.gates import Overload
from runtime.config.settings import Queue, Settings
from runtime.deployment.deployment import Deployment
from runtime.invocations import admission, crowding
from runtime.invocations.retry import Decision
from runtime.invocations.submit import Accepted, Call, accept


@dataclass(frozen=True)
class Flood:
    """Sends calls of `add`, and takes them from the queue `default`."""

    client: redis.Redis
    deployed: Deployment

    def send(self, tenant: str = "acme", **more: Any) -> Accepted:
        """A request's call."""
        call = Call(more.pop("function", "add"), more.pop("arguments", {"a": 1}), tenant=tenant, caller="key", **more)
        return accept(self.client, self.deployed, call)

    def many(self, count: int, tenant: str = "acme", **more: Any) -> list[str]:
        return [self.send(tenant, **more).id for _ in range(count)]

    def standing(self, queue: str = "default") -> list[str]:
        """The ids in the lists of the queue, the next to be taken first."""
        found: list[str] = []
        for name in keys.queue_lists(queue):
            raws: Any = self.client.lrange(name, 0, -1)
            found += [json.loads(raw)["headers"]["id"] for raw in reversed(raws)]
        return found

    def gate(self, tenant: str = "acme", priority: int = 5, queue: str = "default") -> str:
        return f"tenant:{queue}:{tenant}:{priority}"

    def beside(self, tenant: str = "acme", priority: int = 5) -> int:
        """How many calls of a tenant wait beside the queue."""
        return int(self.client.zcard(keys.parked(self.gate(tenant, priority))))

    def take(self) -> Attempt | None:
        """Begin the next call, as a worker does; None where none can be begun now."""
        for name in keys.queue_lists("default"):
            if raw := self.client.rpop(name):
                task_id = json.loads(raw)["headers"]["id"]  # type: ignore[arg-type]
                spec = self.deployed.functions["add"].spec
                begun = claim(self.client, task_id, "hand", spec)
                return self.take() if isinstance(begun, str) else begun
        return None

    def end(self, attempt: Attempt) -> None:
        """End a call that was begun; who waited for its place comes next."""
        spec = self.deployed.functions["add"].spec
        self.let_in(finish(self.client, spec, attempt, "succeeded", {"result": "1"}).gates)

    def fail(self, attempt: Attempt) -> None:
        """It will be tried again in a minute."""
        spec, told = self.deployed.functions["add"].spec, {"type": "E", "message": "", "summary": ""}
        self.let_in(repeat(self.client, spec, attempt, Decision("retrying", 60.0), told).gates)

    def let_in(self, gates: tuple[str, ...]) -> None:
        for gate in gates:
            admission.admit_next(self.client, self.deployed, gate)

    def run(self) -> str | None:
        """Run the next call; its id."""
        attempt = self.take()
        if attempt is None:
            return None
        self.end(attempt)
        return attempt.id

    def refusal(self, told: dict[str, Any]) -> str:
        return str(crowding.refused(json.dumps({"mine": False, "count": 1, "name": "add", **told}).encode()))


def crowded(made: Settings, per_tenant: int | None = None, **overload: Any) -> Settings:
    """Settings whose function `add` has an overload, and whose queue a share for each tenant."""
    own = {"overload": Overload(**overload)} if overload else {}
    functions = {**made.project.functions, "add": made.project.functions["add"].model_copy(update=own)}
    queues = {**made.project.queues, "default": Queue(per_tenant=per_tenant)}
    project = made.project.model_copy(update={"functions": functions, "queues": queues})
    return made.model_copy(update={"project": project})
