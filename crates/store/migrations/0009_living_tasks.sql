-- An account's living tasks are counted at each start (A6): found without its ended ones.

CREATE INDEX tasks_alive_of_owner ON tasks (owner_id) WHERE state <> 'terminated';
