/* A session that ends before it starts means that a clock or a parser is wrong. */
AUDIT (
  name ends_after_it_starts
);

SELECT
  session_id
FROM @this_model
WHERE
  ended_at <= started_at
