MODEL (
  name marts.site_activity,
  kind INCREMENTAL_BY_TIME_RANGE (time_column window_start),
  description 'Sessions of each site in each five minutes.',
  grain (site, window_start),
  audits (not_null(columns := (site, window_start)), forall(criteria := (dropped_sessions <= sessions)))
);

SELECT
  site::TEXT AS site,
  @five_minutes(started_at)::TIMESTAMP AS window_start,
  COUNT(session_id)::INT AS sessions,
  COUNT(CASE WHEN was_dropped THEN 1 END)::INT AS dropped_sessions,
  SUM(session_minutes)::DECIMAL(12, 2) AS total_minutes,
  SUM(relayed_megabytes)::DECIMAL(14, 3) AS relayed_megabytes
FROM staging.sessions
WHERE
  started_at BETWEEN @start_ts AND @end_ts
GROUP BY
  site,
  @five_minutes(started_at)
