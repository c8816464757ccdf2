MODEL (
  name marts.device_health,
  kind FULL,
  description 'How each device has behaved: devices that never had a session are here too.',
  grain device_id,
  audits (
    unique_values(columns := (device_id)),
    forall(criteria := (dropped_share BETWEEN 0 AND 1))
  )
);

SELECT
  devices.device_id::INT AS device_id,
  devices.hostname::TEXT AS hostname,
  devices.site::TEXT AS site,
  COUNT(sessions.session_id)::INT AS sessions,
  COALESCE(AVG(CASE WHEN sessions.was_dropped THEN 1.0 ELSE 0.0 END), 0)::DECIMAL(5, 4) AS dropped_share,
  MAX(sessions.started_at)::TIMESTAMP AS last_session_at
FROM raw.devices AS devices
LEFT JOIN staging.sessions AS sessions
  ON sessions.device_id = devices.device_id
GROUP BY
  devices.device_id,
  devices.hostname,
  devices.site
