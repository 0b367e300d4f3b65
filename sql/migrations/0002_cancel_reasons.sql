-- Why a running run is to be cancelled, until its end is stored and says so.
-- moment: expand

ALTER TABLE :schema.cancels ADD COLUMN reason text;
