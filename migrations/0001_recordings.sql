-- Calls and recordings. Every row bears the node that wrote it; no table assumes one writer.
-- The owner of these objects migrates; the gateway runs as a member of tandem_gateway.

DO $$
BEGIN
    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'tandem_gateway') THEN
        CREATE ROLE tandem_gateway NOLOGIN;
    END IF;
END
$$;

CREATE TABLE call_record (
    call_id       uuid        NOT NULL,
    started_at    timestamptz NOT NULL,
    node_id       bytea       NOT NULL CHECK (octet_length(node_id) = 16),
    session_id    bytea       NOT NULL CHECK (octet_length(session_id) = 16),
    direction     text        NOT NULL CHECK (direction IN ('inbound', 'outbound')),
    trunk         text        NOT NULL,
    remote_number text        NOT NULL COLLATE "C",
    remote_name   text,
    called_number text        NOT NULL COLLATE "C",
    agent         text        COLLATE "C",
    agent_user    text,
    answered_at   timestamptz,
    ended_at      timestamptz,
    outcome       text,
    sip_status    smallint,
    q850          smallint,
    -- Its recording, or why there is none although policy wanted one.
    recording_id  uuid,
    recording_exception text,
    PRIMARY KEY (call_id, started_at)
) PARTITION BY RANGE (started_at);
CREATE TABLE call_record_default PARTITION OF call_record DEFAULT;
CREATE INDEX call_record_by_time ON call_record (started_at DESC, call_id DESC);

CREATE TABLE recording (
    recording_id   uuid        NOT NULL,
    started_at     timestamptz NOT NULL,
    node_id        bytea       NOT NULL CHECK (octet_length(node_id) = 16),
    call_id        uuid        NOT NULL,
    session_id     bytea       NOT NULL CHECK (octet_length(session_id) = 16),
    agent          text        NOT NULL COLLATE "C",
    agent_user     text        NOT NULL,
    agent_name     text        NOT NULL,
    remote_number  text        NOT NULL COLLATE "C",
    remote_name    text,
    direction      text        NOT NULL CHECK (direction IN ('inbound', 'outbound')),
    trunk          text        NOT NULL,
    obligation     text        NOT NULL CHECK (obligation IN ('required', 'best_effort', 'never')),
    state          text        NOT NULL CHECK (state IN ('intent', 'spooling', 'sealed', 'failed', 'stored')),
    answered_at    timestamptz,
    ended_at       timestamptz,
    samples        bigint      NOT NULL DEFAULT 0 CHECK (samples >= 0),
    sample_rate    integer     NOT NULL DEFAULT 8000 CHECK (sample_rate > 0),
    segments       integer     NOT NULL DEFAULT 0 CHECK (segments >= 0),
    end_reason     text,
    sealed_by      text        CHECK (sealed_by IN ('live', 'recovered')),
    failure        text,
    failure_detail text,
    failed_at      timestamptz,
    PRIMARY KEY (recording_id, started_at)
) PARTITION BY RANGE (started_at);
CREATE TABLE recording_default PARTITION OF recording DEFAULT;
CREATE INDEX recording_by_time ON recording (started_at DESC, recording_id DESC);
CREATE INDEX recording_by_agent ON recording (agent, started_at DESC);
CREATE INDEX recording_by_number ON recording (remote_number, started_at DESC);
CREATE INDEX recording_by_call ON recording (call_id);

-- Position of a state on the way: a write of a lower rank changes none.
CREATE FUNCTION recording_state_rank(state text) RETURNS integer
    LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
    RETURN array_position(ARRAY['intent', 'spooling', 'sealed', 'failed', 'stored'], state);

CREATE TABLE recording_segment (
    recording_id   uuid        NOT NULL,
    segment_no     integer     NOT NULL CHECK (segment_no >= 0),
    node_id        bytea       NOT NULL CHECK (octet_length(node_id) = 16),
    state          text        NOT NULL CHECK (state IN ('spooling', 'sealed', 'stored')),
    started_at     timestamptz NOT NULL,
    sample_rate    integer,
    channels       smallint,
    sealed_node_id bytea       CHECK (octet_length(sealed_node_id) = 16),
    ended_at       timestamptz,
    first_sample   bigint,
    samples        bigint,
    chunks         bigint,
    bytes          bigint,
    sha256         bytea       CHECK (octet_length(sha256) = 32),
    merkle_root    bytea       CHECK (octet_length(merkle_root) = 32),
    sealed_by      text        CHECK (sealed_by IN ('live', 'recovered')),
    object         text,
    stored_node_id bytea       CHECK (octet_length(stored_node_id) = 16),
    PRIMARY KEY (recording_id, segment_no)
);

-- Data keys, each wrapped to a recipient's public key. Deleting these rows erases the audio.
CREATE TABLE recording_key (
    recording_id uuid        NOT NULL,
    segment_no   integer     NOT NULL CHECK (segment_no >= 0),
    epoch        bigint      NOT NULL CHECK (epoch >= 0),
    recipient    text        NOT NULL COLLATE "C",
    node_id      bytea       NOT NULL CHECK (octet_length(node_id) = 16),
    encapsulated bytea       NOT NULL,
    ciphertext   bytea       NOT NULL,
    key_commit   bytea       NOT NULL CHECK (octet_length(key_commit) = 32),
    PRIMARY KEY (recording_id, segment_no, epoch, recipient)
);

-- What happened to a recording: pauses, re-anchoring, exceptions.
CREATE TABLE recording_event (
    recording_id uuid        NOT NULL,
    event_no     bigint      NOT NULL CHECK (event_no >= 0),
    node_id      bytea       NOT NULL CHECK (octet_length(node_id) = 16),
    at           timestamptz NOT NULL,
    kind         text        NOT NULL,
    actor        text,
    detail       text        NOT NULL DEFAULT '',
    PRIMARY KEY (recording_id, event_no)
);

-- Makes the monthly partitions of one table's month; safe to call by several nodes at once.
CREATE FUNCTION make_month_partition(parent text, month date) RETURNS void
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
    first date := date_trunc('month', month)::date;
    name  text := format('%s_%s', parent, to_char(first, 'YYYY_MM'));
BEGIN
    IF parent NOT IN ('call_record', 'recording') THEN
        RAISE EXCEPTION 'not partitioned by month: %', parent;
    END IF;
    PERFORM pg_advisory_xact_lock(hashtext('tandem.partitions'));
    IF to_regclass(name) IS NULL THEN
        EXECUTE format('CREATE TABLE %I PARTITION OF %I FOR VALUES FROM (%L) TO (%L)', name, parent,
                       first::timestamp AT TIME ZONE 'UTC', (first + interval '1 month')::timestamp AT TIME ZONE 'UTC');
    END IF;
END
$$;
REVOKE ALL ON FUNCTION make_month_partition(text, date) FROM PUBLIC;

GRANT USAGE ON SCHEMA public TO tandem_gateway;
GRANT SELECT, INSERT, UPDATE ON call_record, recording, recording_segment TO tandem_gateway;
GRANT SELECT, INSERT ON recording_key, recording_event TO tandem_gateway;
GRANT EXECUTE ON FUNCTION make_month_partition(text, date) TO tandem_gateway;
