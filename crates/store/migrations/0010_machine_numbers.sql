-- By which number machines know an account: whoever is in its tasks is an id by it, and what they left on disks stays that
-- id's (F10, P2, T6). It is drawn when it is first needed. The row of a deleted account stays, and with it its number.

ALTER TABLE users ADD COLUMN machine_number BIGINT CHECK (machine_number BETWEEN 0 AND 519999);

CREATE UNIQUE INDEX users_by_machine_number ON users (machine_number);
