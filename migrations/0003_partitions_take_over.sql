-- A month's partition can be made late: rows that came before it lie in the default partition, and move.

CREATE OR REPLACE FUNCTION make_month_partition(parent text, month date) RETURNS void
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
    first    date := date_trunc('month', month)::date;
    from_at  timestamptz := first::timestamp AT TIME ZONE 'UTC';
    until_at timestamptz := (first + interval '1 month')::timestamp AT TIME ZONE 'UTC';
    name     text := format('%s_%s', parent, to_char(first, 'YYYY_MM'));
BEGIN
    IF parent NOT IN ('call_record', 'recording') THEN
        RAISE EXCEPTION 'not partitioned by month: %', parent;
    END IF;
    PERFORM pg_advisory_xact_lock(hashtext('tandem.partitions'));
    IF to_regclass(name) IS NOT NULL THEN
        RETURN;
    END IF;
    EXECUTE format('CREATE TABLE %I (LIKE %I INCLUDING DEFAULTS INCLUDING CONSTRAINTS)', name, parent);
    -- Nobody may add rows of this month to the default partition between the move and the attachment.
    EXECUTE format('LOCK TABLE %I IN ACCESS EXCLUSIVE MODE', parent);
    EXECUTE format('WITH moved AS (DELETE FROM %I WHERE started_at >= %L AND started_at < %L RETURNING *)'
                   ' INSERT INTO %I SELECT * FROM moved', parent || '_default', from_at, until_at, name);
    EXECUTE format('ALTER TABLE %I ATTACH PARTITION %I FOR VALUES FROM (%L) TO (%L)', parent, name, from_at, until_at);
END
$$;
