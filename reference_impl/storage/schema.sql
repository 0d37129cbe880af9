-- Idempotent: every API server runs it at its start, under an advisory lock.
CREATE TABLE IF NOT EXISTS log_head (
    single boolean PRIMARY KEY DEFAULT true CHECK (single),
    seq    bigint NOT NULL
);
INSERT INTO log_head (seq) VALUES (0) ON CONFLICT DO NOTHING;

CREATE TABLE IF NOT EXISTS orgs (
    org     text PRIMARY KEY,
    version bigint NOT NULL
);

CREATE TABLE IF NOT EXISTS flags (
    org  text NOT NULL,
    key  text NOT NULL,
    seq  bigint NOT NULL,
    flag json NOT NULL,
    PRIMARY KEY (org, key)
);

CREATE TABLE IF NOT EXISTS changes (
    seq     bigint PRIMARY KEY,
    org     text NOT NULL,
    version bigint NOT NULL,
    key     text NOT NULL,
    flag    json,
    at      bigint NOT NULL
);

CREATE INDEX IF NOT EXISTS changes_of_flag ON changes (org, key, seq);

-- The row of log_head is the clock of all writes: whoever holds its lock is the next to commit, so positions have no
-- gaps and become visible in order. One function, one round trip, so the lock is held for as short as can be.
CREATE OR REPLACE FUNCTION put_flag(
    in_org text, in_key text, in_flag json, in_at bigint, OUT out_seq bigint, OUT out_version bigint
) LANGUAGE plpgsql AS $$
BEGIN
    UPDATE log_head SET seq = seq + 1 RETURNING seq INTO STRICT out_seq;
    INSERT INTO orgs VALUES (in_org, 1)
        ON CONFLICT (org) DO UPDATE SET version = orgs.version + 1
        RETURNING version INTO out_version;
    IF in_flag IS NULL THEN
        DELETE FROM flags WHERE org = in_org AND key = in_key;
    ELSE
        INSERT INTO flags VALUES (in_org, in_key, out_seq, in_flag)
            ON CONFLICT (org, key) DO UPDATE SET seq = EXCLUDED.seq, flag = EXCLUDED.flag;
    END IF;
    INSERT INTO changes VALUES (out_seq, in_org, out_version, in_key, in_flag, in_at);
    PERFORM pg_notify('squall_changes', out_seq::text);
END $$;
