-- What administrators lay down for the configurations of everybody's work, as it was sent. `workspace_id` 0 is everywhere.

CREATE TABLE config_policies (
    workspace_id BIGINT NOT NULL,
    workload TEXT NOT NULL,
    policies TEXT NOT NULL,
    set_by BIGINT NOT NULL REFERENCES users (id),
    set_at BIGINT NOT NULL,
    PRIMARY KEY (workspace_id, workload)
);
