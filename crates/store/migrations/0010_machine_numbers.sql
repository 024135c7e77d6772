-- By which number machines know an account: root in its tasks is an id by it, and what they left on disks stays that id's
-- (F10, P2). It is drawn when it is first needed; who may have such files already keeps theirs, which were by the account's
-- id. The row of a deleted account stays, and with it its number.

ALTER TABLE users ADD COLUMN machine_number BIGINT CHECK (machine_number BETWEEN 0 AND 4194303);

UPDATE users SET machine_number = id WHERE id < 4194304 AND status <> 'pending';

CREATE UNIQUE INDEX users_by_machine_number ON users (machine_number);
