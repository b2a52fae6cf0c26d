-- Turns as every replica of the service sees them, kept for a while: replay, cancelling, repeated requests.
-- The tables hang on nothing: a key is claimed before its session is there.

CREATE TABLE chat_turns (
    turn_id text COLLATE "C" PRIMARY KEY,
    session_id text COLLATE "C" NOT NULL,
    owner text COLLATE "C",
    replica text COLLATE "C" NOT NULL,
    key_digest text COLLATE "C" UNIQUE,
    body_digest text COLLATE "C",
    begun boolean NOT NULL DEFAULT false,
    started timestamptz NOT NULL DEFAULT clock_timestamp(),
    expires_at timestamptz NOT NULL,
    ending_position integer,
    ending text,
    frees_key boolean NOT NULL DEFAULT false
);

CREATE INDEX idx_turns_session ON chat_turns (session_id, started DESC);
CREATE INDEX idx_turns_expiry ON chat_turns (expires_at);

-- Events one after the other, one a line, as JSON.
CREATE TABLE chat_turn_events (
    turn_id text COLLATE "C" NOT NULL REFERENCES chat_turns ON DELETE CASCADE,
    first integer NOT NULL,
    last integer NOT NULL,
    events text NOT NULL,
    PRIMARY KEY (turn_id, first)
);

-- A process of the service that runs turns: when it was last heard of, and which of its turns somebody wants cancelled.
CREATE TABLE chat_replicas (
    replica text COLLATE "C" PRIMARY KEY,
    alive timestamptz,
    cancels text[] NOT NULL DEFAULT '{}',
    expires_at timestamptz NOT NULL
);

CREATE INDEX idx_replicas_expiry ON chat_replicas (expires_at);
