MODEL (
  name staging.sessions,
  kind INCREMENTAL_BY_TIME_RANGE (time_column started_at),
  description 'One row a support session, with its device, its technician and how long it took.',
  column_descriptions (
    session_minutes = 'Length of the session in minutes, two decimals.',
    was_dropped = 'Whether the connection was lost rather than closed.'
  ),
  grain session_id,
  references (device_id, technician_id),
  audits (
    not_null(columns := (session_id, device_id, technician_id, site)),
    unique_values(columns := (session_id)),
    ends_after_it_starts
  )
);

SELECT
  log.session_id::TEXT AS session_id,
  log.device_id::INT AS device_id,
  devices.hostname::TEXT AS hostname,
  devices.site::TEXT AS site,
  log.technician_id::INT AS technician_id,
  technicians.full_name::TEXT AS technician,
  technicians.team::TEXT AS team,
  log.started_at::TIMESTAMP AS started_at,
  log.ended_at::TIMESTAMP AS ended_at,
  @minutes_between(log.started_at, log.ended_at)::DECIMAL(10, 2) AS session_minutes,
  (log.relayed_bytes / 1000000.0)::DECIMAL(12, 3) AS relayed_megabytes,
  (log.outcome = 'dropped')::BOOLEAN AS was_dropped
FROM raw.relay_log AS log
JOIN raw.devices AS devices
  ON devices.device_id = log.device_id
JOIN raw.technicians AS technicians
  ON technicians.technician_id = log.technician_id
WHERE
  log.started_at BETWEEN @start_ts AND @end_ts
