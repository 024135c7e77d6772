-- How the parts of a run on several agents ended: JSON, a list in the order in which they did.
ALTER TABLE allocations ADD COLUMN exits TEXT NOT NULL DEFAULT '[]';
