-- What redacted messages said, where that is kept for an audit. Nothing else reads it; it goes with the session.

CREATE TABLE chat_originals (
    session_id text COLLATE "C" NOT NULL REFERENCES chat_sessions ON DELETE CASCADE,
    agent_id text COLLATE "C" NOT NULL,
    position integer NOT NULL,
    redacted_at timestamptz NOT NULL,
    message jsonb NOT NULL,
    PRIMARY KEY (session_id, agent_id, position, redacted_at)
);
