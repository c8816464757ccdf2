MODEL (
  name raw.devices,
  kind SEED (path '../../seeds/devices.csv'),
  description 'The devices that the team supports.',
  columns (device_id INT, hostname TEXT, os TEXT, site TEXT),
  grain device_id,
  audits (
    unique_values(columns := (device_id, hostname)),
    accepted_values(column := os, is_in := ('windows', 'macos', 'linux'))
  )
);
