-- Who looked at what. Rows come only from audit_append, which chains them; nobody changes or removes one.

CREATE TABLE access_audit (
    chain     smallint NOT NULL CHECK (chain BETWEEN 0 AND 7),
    seq       bigint   NOT NULL CHECK (seq > 0),
    node_id   bytea    NOT NULL CHECK (octet_length(node_id) = 16),
    at_us     bigint   NOT NULL,
    actor     text     NOT NULL,
    action    text     NOT NULL,
    object    text     NOT NULL,
    peer      text     NOT NULL,
    detail    text     NOT NULL,
    prev_hash bytea    NOT NULL CHECK (octet_length(prev_hash) = 32),
    hash      bytea    NOT NULL CHECK (octet_length(hash) = 32),
    PRIMARY KEY (chain, seq)
);
CREATE INDEX access_audit_by_time ON access_audit (at_us DESC);
CREATE INDEX access_audit_by_object ON access_audit (object, at_us DESC);

-- The last row of each chain: a removed tail shows against it.
CREATE TABLE access_audit_head (
    chain smallint PRIMARY KEY CHECK (chain BETWEEN 0 AND 7),
    seq   bigint   NOT NULL,
    hash  bytea    NOT NULL CHECK (octet_length(hash) = 32)
);
INSERT INTO access_audit_head SELECT chain, 0, decode(repeat('00', 32), 'hex') FROM generate_series(0, 7) AS chain;

-- A text with its length before it, so that no two rows have the same bytes.
CREATE FUNCTION audit_field(value text) RETURNS bytea
    LANGUAGE sql IMMUTABLE STRICT
    RETURN int4send(octet_length(convert_to(value, 'UTF8'))) || convert_to(value, 'UTF8');

-- The canonical bytes under the hash: big-endian numbers, then the texts with their lengths.
CREATE FUNCTION audit_canonical(chain smallint, seq bigint, prev_hash bytea, node_id bytea, at_us bigint,
                                actor text, action text, object text, peer text, detail text) RETURNS bytea
    LANGUAGE sql IMMUTABLE STRICT
    RETURN int2send(chain) || int8send(seq) || prev_hash || node_id || int8send(at_us)
        || audit_field(actor) || audit_field(action) || audit_field(object) || audit_field(peer) || audit_field(detail);

-- Appends one row to its actor's chain: the first byte of SHA-256 over the actor, modulo 8.
CREATE FUNCTION audit_append(in_node_id bytea, in_actor text, in_action text, in_object text, in_peer text, in_detail text,
                             OUT out_chain smallint, OUT out_seq bigint)
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
    head  access_audit_head%ROWTYPE;
    now_us bigint := (extract(epoch FROM clock_timestamp()) * 1000000)::bigint;
    digest bytea;
BEGIN
    out_chain := get_byte(sha256(convert_to(in_actor, 'UTF8')), 0) % 8;
    SELECT * INTO STRICT head FROM access_audit_head WHERE chain = out_chain FOR UPDATE;
    out_seq := head.seq + 1;
    digest := sha256(audit_canonical(out_chain, out_seq, head.hash, in_node_id, now_us, in_actor, in_action, in_object, in_peer, in_detail));
    INSERT INTO access_audit VALUES (out_chain, out_seq, in_node_id, now_us, in_actor, in_action, in_object, in_peer, in_detail, head.hash, digest);
    UPDATE access_audit_head SET seq = out_seq, hash = digest WHERE chain = out_chain;
END
$$;

-- Not even the owner, by mistake: a row that is written stays.
CREATE FUNCTION audit_is_append_only() RETURNS trigger
    LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'access_audit is append-only' USING ERRCODE = 'insufficient_privilege';
END
$$;
CREATE TRIGGER access_audit_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON access_audit
    FOR EACH STATEMENT EXECUTE FUNCTION audit_is_append_only();

REVOKE ALL ON access_audit, access_audit_head FROM PUBLIC;
REVOKE ALL ON FUNCTION audit_append(bytea, text, text, text, text, text) FROM PUBLIC;
GRANT SELECT ON access_audit, access_audit_head TO tandem_gateway;
GRANT EXECUTE ON FUNCTION audit_append(bytea, text, text, text, text, text) TO tandem_gateway;
