-- What was seen of a call: SIP and signalling messages, media events and states, masked, as the trace room writes them.
-- Kept by month like the call records, and dropped with them.

CREATE TABLE call_trace (
    call_id              uuid        NOT NULL,
    started_at           timestamptz NOT NULL,
    node_id              bytea       NOT NULL CHECK (octet_length(node_id) = 16),
    entries              jsonb       NOT NULL CHECK (jsonb_typeof(entries) = 'array'),
    -- Beyond the bounds of one trace or of all.
    entries_dropped      bigint      NOT NULL DEFAULT 0 CHECK (entries_dropped >= 0),
    -- Of any call, lost by the node while this one lived.
    observations_dropped bigint      NOT NULL DEFAULT 0 CHECK (observations_dropped >= 0),
    PRIMARY KEY (call_id, started_at)
) PARTITION BY RANGE (started_at);
CREATE TABLE call_trace_default PARTITION OF call_trace DEFAULT;
GRANT SELECT, INSERT ON call_trace TO tandem_gateway;

CREATE INDEX call_record_by_agent ON call_record (agent, started_at DESC);
CREATE INDEX call_record_by_number ON call_record (remote_number, started_at DESC);

-- As before, for one table more.
CREATE OR REPLACE FUNCTION make_month_partition(parent text, month date) RETURNS void
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
    first    date := date_trunc('month', month)::date;
    from_at  timestamptz := first::timestamp AT TIME ZONE 'UTC';
    until_at timestamptz := (first + interval '1 month')::timestamp AT TIME ZONE 'UTC';
    name     text := format('%s_%s', parent, to_char(first, 'YYYY_MM'));
BEGIN
    IF parent NOT IN ('call_record', 'call_trace', 'recording') THEN
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
