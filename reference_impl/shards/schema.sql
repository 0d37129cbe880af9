-- Beside the storage's own schema, and idempotent as it is. A database knows which shards it has, and takes and shows
-- nothing of an organisation that is on none of them: two databases can't both take its writes, whatever their callers believe.
CREATE TABLE IF NOT EXISTS owned (
    modulus int NOT NULL,
    number  int NOT NULL CHECK (number >= 0 AND number < modulus),
    epoch   bigint NOT NULL,
    open    boolean NOT NULL,
    PRIMARY KEY (modulus, number)
);

-- Has a row once the database has been given its first shards, which happens once.
CREATE TABLE IF NOT EXISTS placed (
    single boolean PRIMARY KEY DEFAULT true CHECK (single)
);

CREATE OR REPLACE FUNCTION org_hash(in_org text) RETURNS bigint LANGUAGE sql IMMUTABLE AS $$
    SELECT ('x' || left(encode(sha256(convert_to(in_org, 'UTF8')), 'hex'), 15))::bit(60)::bigint
$$;

CREATE OR REPLACE FUNCTION owns(in_org text) RETURNS boolean LANGUAGE sql STABLE AS $$
    SELECT EXISTS (SELECT FROM owned WHERE open AND org_hash(in_org) % modulus = number)
$$;

-- Null where the organisation is not here. The lock on the shard's row makes its closing wait for the writes under way, and
-- those that come later wait for the closing and then find it closed.
CREATE OR REPLACE FUNCTION put_owned_flag(
    in_org text, in_key text, in_flag json, in_at bigint, OUT out_seq bigint, OUT out_version bigint
) LANGUAGE plpgsql AS $$
BEGIN
    PERFORM FROM owned WHERE open AND org_hash(in_org) % modulus = number FOR SHARE;
    IF FOUND THEN
        SELECT * INTO out_seq, out_version FROM put_flag(in_org, in_key, in_flag, in_at);
    END IF;
END $$;

-- A change that an organisation's earlier database has committed, in the order of the organisation's versions; what is here already is
-- passed over. Positions go on behind those that it had there, so no reader of the organisation sees them go back.
CREATE OR REPLACE FUNCTION replay_change(
    in_seq bigint, in_org text, in_version bigint, in_key text, in_flag json, in_at bigint
) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    new_seq bigint;
    has     bigint;
BEGIN
    UPDATE log_head SET seq = greatest(seq + 1, in_seq) RETURNING seq INTO STRICT new_seq;
    SELECT version INTO has FROM orgs WHERE org = in_org;
    has := coalesce(has, 0);
    IF in_version <= has THEN
        RETURN;
    ELSIF in_version > has + 1 THEN
        RAISE EXCEPTION '% has version %, which % does not follow', in_org, has, in_version;
    END IF;
    INSERT INTO orgs VALUES (in_org, in_version) ON CONFLICT (org) DO UPDATE SET version = EXCLUDED.version;
    IF in_flag IS NULL THEN
        DELETE FROM flags WHERE org = in_org AND key = in_key;
    ELSE
        INSERT INTO flags VALUES (in_org, in_key, new_seq, in_flag)
            ON CONFLICT (org, key) DO UPDATE SET seq = EXCLUDED.seq, flag = EXCLUDED.flag;
    END IF;
    INSERT INTO changes VALUES (new_seq, in_org, in_version, in_key, in_flag, in_at);
END $$;
