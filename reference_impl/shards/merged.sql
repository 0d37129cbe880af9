-- Beside the storage's own schema: one log of what several databases have in theirs, and up to where it has it.
CREATE TABLE IF NOT EXISTS merged (
    source text PRIMARY KEY,
    seq    bigint NOT NULL
);

-- A change of one source's log. One that came by another source already, as those of an organisation that has moved do, is
-- passed over. The row of log_head is locked first, as by every write, so there may be more than one who merges.
CREATE OR REPLACE FUNCTION merge_change(
    in_source text, in_seq bigint, in_org text, in_version bigint, in_key text, in_flag json, in_at bigint
) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    has bigint;
BEGIN
    PERFORM FROM log_head FOR UPDATE;
    SELECT version INTO has FROM orgs WHERE org = in_org;
    has := coalesce(has, 0);
    IF in_version > has + 1 THEN
        RAISE EXCEPTION '% has version %, which % of % does not follow', in_org, has, in_version, in_source;
    ELSIF in_version = has + 1 THEN
        PERFORM put_flag(in_org, in_key, in_flag, in_at);
    END IF;
    INSERT INTO merged VALUES (in_source, in_seq)
        ON CONFLICT (source) DO UPDATE SET seq = greatest(merged.seq, EXCLUDED.seq);
END $$;
