-- How good a call was: for the agent's leg and the trunk's, received and sent, over stretches of some seconds the mean share
-- of packets lost, the highest jitter, and the mean and the lowest estimated opinion score (docs/quality.md).
ALTER TABLE call_record ADD COLUMN quality jsonb;
