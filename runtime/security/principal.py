"""Who asks, and what they may: the same words for an API key, a token of somebody else's, and this machine itself."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Role = Literal["invoke", "read", "admin"]
"""invoke: call functions, and see what came of it, search, put documents. read: only look. admin: everything."""

DEFAULT_TENANT = "default"


@dataclass(frozen=True, slots=True)
class Principal:
    """`confined`: sees and changes what is its tenant's only. `functions` None: all of them may be called."""

    name: str
    role: Role
    tenant: str = DEFAULT_TENANT
    confined: bool = True
    functions: frozenset[str] | None = None

    def sees(self, tenant: str) -> bool:
        return not self.confined or tenant == self.tenant

    def may_call(self, function: str, role: str) -> bool:
        """Whether it may call a function that declares this role ("invoke" or "admin")."""
        if self.role == "read" or (role == "admin" and self.role != "admin"):
            return False
        return self.functions is None or function in self.functions


LOCAL = Principal("local", "admin", confined=False)
"""Whoever reaches a gateway that asks nobody who they are: it listens on this machine only."""
