-- A call that went on without its agent, joined to another one (trunk.transfer = "bridge"): which. Each of the two names the
-- other.
ALTER TABLE call_record ADD COLUMN joined_with uuid;
