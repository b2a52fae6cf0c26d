-- Sessions that expire, are held, are imported, or are forks of others; and lists in the order of their beginning.

ALTER TABLE chat_sessions
    ADD COLUMN expires_at timestamptz,
    ADD COLUMN lifetime double precision,
    ADD COLUMN held boolean NOT NULL DEFAULT false,
    ADD COLUMN importing text;

-- When a session expires: so many seconds after its last change, or at a fixed date; never when there is neither.
CREATE FUNCTION chat_session_end(session chat_sessions) RETURNS timestamptz LANGUAGE sql STABLE AS $$
    SELECT COALESCE(session.last_accessed + session.lifetime * interval '1 second', session.expires_at)
$$;

-- Whether a session reads as absent, though its row is still there.
CREATE FUNCTION chat_session_is_gone(session chat_sessions) RETURNS boolean LANGUAGE sql VOLATILE AS $$
    SELECT session.importing IS NOT NULL
        OR (NOT session.held AND chat_session_end(session) <= clock_timestamp()) IS TRUE
$$;

CREATE INDEX idx_sessions_created ON chat_sessions (created_at DESC, session_id DESC);
CREATE INDEX idx_sessions_owner_created ON chat_sessions (owner, created_at DESC, session_id DESC)
    WHERE owner IS NOT NULL;
CREATE INDEX idx_sessions_application_created ON chat_sessions (application_name, created_at DESC, session_id DESC)
    WHERE application_name IS NOT NULL;
CREATE INDEX idx_sessions_expiry ON chat_sessions (expires_at) WHERE expires_at IS NOT NULL;
CREATE INDEX idx_sessions_lifetime ON chat_sessions (last_accessed) WHERE lifetime IS NOT NULL;
CREATE INDEX idx_sessions_importing ON chat_sessions (last_accessed) WHERE importing IS NOT NULL;

-- Where a fork comes from: the session that it was forked from has the greatest depth, before it stand those from which
-- that one was. `messages` of the fork came with it. The origin may be deleted since, and its id be another session's.
CREATE TABLE chat_forks (
    session_id text COLLATE "C" NOT NULL REFERENCES chat_sessions ON DELETE CASCADE,
    depth integer NOT NULL,
    origin_id text COLLATE "C" NOT NULL,
    origin_created_at timestamptz NOT NULL,
    origin_owner text COLLATE "C",
    agent_id text COLLATE "C" NOT NULL,
    messages integer NOT NULL,
    PRIMARY KEY (session_id, depth)
);

CREATE INDEX idx_forks_origin ON chat_forks (origin_id);
CREATE INDEX idx_forks_owner ON chat_forks (origin_owner) WHERE origin_owner IS NOT NULL;
