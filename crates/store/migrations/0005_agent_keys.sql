-- Agents' keys can be replaced and revoked; where each was last seen.

ALTER TABLE agents ADD COLUMN revoked_at BIGINT;
ALTER TABLE agents ADD COLUMN last_seen_at BIGINT;
ALTER TABLE agents ADD COLUMN last_address TEXT;

-- Whether the invitation may give an enrolled name another key.
ALTER TABLE invitations ADD COLUMN replaces BOOLEAN NOT NULL DEFAULT FALSE;

-- Keys that are refused for ever.
CREATE TABLE revoked_agent_keys (
    public_key TEXT NOT NULL PRIMARY KEY,
    agent_id TEXT NOT NULL,
    revoked_at BIGINT NOT NULL
);
