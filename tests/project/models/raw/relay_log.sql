/* Stands in for the relay's log: one session a minute, every attribute computed from that minute, so a
   backfill of the same interval always gives the same rows. */
MODEL (
  name raw.relay_log,
  kind INCREMENTAL_BY_TIME_RANGE (time_column started_at),
  description 'Support sessions as the relay logs them: one line a session.',
  grain session_id,
  audits (unique_values(columns := (session_id)), not_null(columns := (started_at, ended_at)))
);

WITH minutes AS (
  SELECT
    minute::TIMESTAMP AS started_at,
    (EXTRACT(EPOCH FROM minute) / 60)::BIGINT AS number
  FROM GENERATE_SERIES(@start_ts::TIMESTAMP, @end_ts::TIMESTAMP, INTERVAL '1 minute') AS series(minute)
)
SELECT
  ('relay-' || number)::TEXT AS session_id,
  (1 + number * 48271 % 65537 % 12)::INT AS device_id,
  (1 + number * 69621 % 65539 % 5)::INT AS technician_id,
  started_at,
  (started_at + (30 + number * 16807 % 65521 % 2400) * INTERVAL '1 second')::TIMESTAMP AS ended_at,
  (number * 16807 % 65521 % 2400 * 25000)::BIGINT AS relayed_bytes,
  (CASE WHEN number % 11 = 0 THEN 'dropped' ELSE 'closed' END)::TEXT AS outcome
FROM minutes
WHERE
  started_at BETWEEN @start_ts AND @end_ts
