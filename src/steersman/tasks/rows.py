"""Rows: the same items under several settings, laid flat for one call of the engine, and its answers cut back."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar, final

from steersman.errors import InputError
from steersman.plan import Plan
from steersman.tasks.task import Setting

T = TypeVar("T")


@final
@dataclass(frozen=True)
class Rows:
    """The rows of one call, setting by setting, under each the same ones in the same order.

    One call for all settings lets the engine read once what rows have in common: below the lowest layer that is edited
    a prompt's activations do not depend on the setting.

    Args:
        settings: at least one.
        width: rows under each setting.
    """

    settings: Sequence[Setting]
    width: int

    @property
    def plans(self) -> list[Plan]:
        """One per row."""
        return [setting.plan for setting in self.settings for _ in range(self.width)]

    @property
    def systems(self) -> str | list[str | None] | None:
        """System prompts, one per row; a single one where all settings have the same."""
        said = {setting.system for setting in self.settings}
        if len(said) == 1:
            return said.pop()
        return [setting.system for setting in self.settings for _ in range(self.width)]

    def flat(self, values: Sequence[T]) -> list[T]:
        """Return what every setting is asked, as often as there are settings.

        Args:
            values: one for each row of one setting.
        """
        return list(values) * len(self.settings)

    def cut(self, values: Sequence[T]) -> list[list[T]]:
        """Return what came back by setting.

        Args:
            values: one per row.

        Raises:
            InputError: for an engine that gave another number of answers.
        """
        if len(values) != len(self.settings) * self.width:
            raise InputError(
                f"expected {len(self.settings) * self.width} answers of the engine, one per row, got {len(values)}"
            )
        return [list(values[i * self.width : (i + 1) * self.width]) for i in range(len(self.settings))]
