"""How long each technician's sessions take: quantiles, which SQL dialects disagree about."""

import typing as t
from datetime import datetime

import pandas as pd
from sqlglot import exp
from sqlmesh import ExecutionContext, model


@model(
    "marts.technician_load",
    kind="FULL",
    description="Sessions of each technician and how long they take.",
    columns={
        "technician_id": "int",
        "technician": "text",
        "team": "text",
        "sessions": "int",
        "median_minutes": "double precision",
        "p95_minutes": "double precision",
    },
    column_descriptions={"p95_minutes": "Nineteen of twenty sessions are shorter than this."},
    grains=["technician_id"],
    depends_on=["staging.sessions"],
    audits=[("unique_values", {"columns": [exp.column("technician_id")]})],
)
def execute(
    context: ExecutionContext,
    start: datetime,
    end: datetime,
    execution_time: datetime,
    **kwargs: t.Any,
) -> t.Iterator[pd.DataFrame]:
    sessions = context.fetchdf(
        "SELECT technician_id, technician, team, session_minutes::DOUBLE PRECISION AS minutes FROM "
        + context.resolve_table("staging.sessions")
    )
    if sessions.empty:
        # SQLMesh refuses an empty frame from a generator: no rows are said by yielding nothing.
        return
    minutes = sessions.groupby(["technician_id", "technician", "team"])["minutes"]
    yield (
        minutes.agg(
            sessions="count",
            median_minutes="median",
            p95_minutes=lambda lengths: lengths.quantile(0.95),
        )
        .round(2)
        .reset_index()
    )
