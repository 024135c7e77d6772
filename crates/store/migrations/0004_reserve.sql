-- Filled and emptied again: its pages are what is left to write on when the disk is full. SQLite only.
CREATE TABLE reserve (
    filler TEXT NOT NULL
);
