MODEL (
  name raw.technicians,
  kind SEED (path '../../seeds/technicians.csv'),
  description 'The people who take support sessions.',
  columns (technician_id INT, full_name TEXT, team TEXT),
  grain technician_id,
  audits (unique_values(columns := (technician_id)), not_null(columns := (full_name, team)))
);
