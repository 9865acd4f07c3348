-- A call that was to be encrypted on its trunk, and is not: the peer refused SRTP with 488, and the trunk allows RTP in
-- the clear (trunk.downgrade).
ALTER TABLE call_record ADD COLUMN srtp_downgraded boolean NOT NULL DEFAULT false;
