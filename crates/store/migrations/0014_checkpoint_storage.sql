-- Where a workspace's experiments put their checkpoints, JSON; NULL is where the installation's go.

ALTER TABLE workspaces ADD COLUMN checkpoint_storage TEXT;
