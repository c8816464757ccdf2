"""Time arithmetic that the models share."""

from sqlglot import exp
from sqlmesh import macro


@macro()
def minutes_between(evaluator, start: exp.Expression, end: exp.Expression) -> str:
    """Minutes from start to end, as a fraction."""
    return f"EXTRACT(EPOCH FROM ({end} - {start})) / 60.0"


@macro()
def five_minutes(evaluator, moment: exp.Expression) -> str:
    """The start of the five minutes that a moment falls in."""
    return (
        f"DATE_TRUNC('minute', {moment})"
        f" - EXTRACT(MINUTE FROM {moment})::INT % 5 * INTERVAL '1 minute'"
    )
