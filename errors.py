"""The exceptions that Quotacast raises on purpose.

::

    QuotacastError              anything a caller may want to catch
    ├── DataError               the history that came in cannot be used as it is
    ├── PlanError               the plan, a period, a scope or a quota says something impossible
    └── FitError                a model could not be fitted, or its fit must not be trusted

Each carries ``problems``: one sentence per problem, naming the place (file and row, or key), what
arrived, what was wanted and how to mend it. All problems found in one go are reported together.
"""

from __future__ import annotations

from collections.abc import Iterable


class QuotacastError(Exception):
    """Base of every deliberate error.

    Parameters
    ----------
    problems : str or iterable of str
        One sentence per problem.
    """

    def __init__(self, problems: str | Iterable[str]) -> None:
        self.problems: tuple[str, ...] = (problems,) if isinstance(problems, str) else tuple(problems)
        super().__init__("\n".join(self.problems))


class DataError(QuotacastError):
    """The history that came in cannot be used as it is."""


class PlanError(QuotacastError):
    """The plan, a period, a scope or a quota says something impossible."""


class FitError(QuotacastError):
    """A model could not be fitted, or its fit must not be trusted."""
