-- Sessions, their agents, messages and feedback.
-- A token is random and tells whoever wrote the row, and lost the reply, that it was written.
-- Ids are text of any characters; a NUL, which PostgreSQL cannot hold, and a backslash are written as \u0000 and \u005c.

CREATE TABLE chat_sessions (
    session_id text COLLATE "C" PRIMARY KEY,
    created_at timestamptz NOT NULL DEFAULT now(),
    last_accessed timestamptz NOT NULL DEFAULT now(),
    metadata jsonb NOT NULL DEFAULT '{}',
    title text,
    owner text COLLATE "C",
    application_name text COLLATE "C",
    token text
);

CREATE INDEX idx_sessions_accessed ON chat_sessions (last_accessed DESC, session_id DESC);
CREATE INDEX idx_sessions_owner ON chat_sessions (owner, last_accessed DESC, session_id DESC) WHERE owner IS NOT NULL;
CREATE INDEX idx_sessions_application ON chat_sessions (application_name, last_accessed DESC, session_id DESC)
    WHERE application_name IS NOT NULL;

-- One row for each agent or graph. Every write leaves a new revision; a turn is free when it has no owner.
CREATE TABLE chat_agents (
    session_id text COLLATE "C" NOT NULL REFERENCES chat_sessions ON DELETE CASCADE,
    part text COLLATE "C" NOT NULL CHECK (part IN ('agents', 'multi_agents')),
    agent_id text COLLATE "C" NOT NULL,
    revision text NOT NULL,
    data jsonb,
    message_count integer NOT NULL DEFAULT 0,
    totals jsonb NOT NULL DEFAULT '{}',
    turn_owner text,
    turn_stamp timestamptz,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (session_id, part, agent_id)
);

-- `message` is the whole message; role, content, selected_text and response_time_ms are what people ask for of it.
CREATE TABLE chat_messages (
    session_id text COLLATE "C" NOT NULL REFERENCES chat_sessions ON DELETE CASCADE,
    agent_id text COLLATE "C" NOT NULL,
    position integer NOT NULL,
    message_id text NOT NULL,
    role text NOT NULL,
    content text NOT NULL,
    selected_text text,
    "timestamp" timestamptz NOT NULL,
    updated_at timestamptz NOT NULL,
    response_time_ms double precision,
    message jsonb NOT NULL,
    details jsonb NOT NULL DEFAULT '{}',
    PRIMARY KEY (session_id, agent_id, position)
);

CREATE INDEX idx_messages_session ON chat_messages (session_id, "timestamp" DESC);

CREATE TABLE chat_feedback (
    feedback_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    session_id text COLLATE "C" NOT NULL REFERENCES chat_sessions ON DELETE CASCADE,
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    feedback jsonb NOT NULL,
    bytes integer NOT NULL,
    token text NOT NULL
);

CREATE INDEX idx_feedback_session ON chat_feedback (session_id, feedback_id);
