"""Functions of a person's own inside what is pickled."""

from __future__ import annotations

import pickle
from dataclasses import dataclass
from typing import Any

from tracin_core.errors import ConfigurationError


@dataclass(frozen=True)
class Portable:
    """A value that says how to mend it where it cannot be pickled.

    Attributes:
        value: The value, mostly a function.
        role: What messages call it.
    """

    value: Any
    role: str

    def __reduce__(self) -> tuple[Any, ...]:
        try:
            pickle.dumps(self.value)
        except (pickle.PicklingError, TypeError, AttributeError) as error:
            raise ConfigurationError(
                f"The {self.role} {self.value!r:.80} cannot be pickled ({error}); expected a "
                "function at the top of a module, which another process can import. Move it "
                "there, or make the TracIn anew in that process."
            ) from error
        return Portable, (self.value, self.role)

    def __deepcopy__(self, memo: dict[int, Any]) -> Portable:
        return self  # functions are not copied either
